"""Training: the loop and what it needs (`config`, `schedule`, `lion`, `order`, `learner`, `checkpoint`, `loop`), what
watches it (`watching`), what reads its curves (`curves`, `diagnosis`, `remedies`), and what checks a recipe before it
runs (`lint`, `trainer_names`).
"""

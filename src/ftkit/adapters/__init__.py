"""Small trained parts beside a frozen model: bottlenecks after its parts, a prompt before its tokens, a prefix before
its keys and values; and the two latter in peft's files.
"""

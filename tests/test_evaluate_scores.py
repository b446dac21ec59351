"""Scores in both languages, beside sacrebleu, rouge-score and arithmetic by hand."""

import math

import pytest
import sacrebleu
from rouge_score.rouge_scorer import RougeScorer

from ftkit.errors import Refusal
from ftkit.evaluate import scores


@pytest.mark.parametrize(("one", "other"), [
    ("Paris", " paris. "), ("看医生", "看 医生。"), ("ＡＢＣ１２", "abc12"), ("self-care", "Self care!"),
    ("“yes”", "yes"), ("−3", "-3"), ("don't", "don’t"), ("a  b", "a b")])
def test_what_does_not_make_another_answer_is_ignored(one, other):
    assert scores.normalise_answer(one) == scores.normalise_answer(other) and scores.exact_match(one, other) == 1


@pytest.mark.parametrize(("one", "other"), [
    ("3.5", "35"), ("-3", "3"), ("a", "the"), ("50%", "50"), ("10:30", "1030"), ("1/2", "12"), ("$5", "5"),
    ("看医生", "去看医生"), ("?", "!")])
def test_what_makes_another_answer_is_kept(one, other):
    assert scores.exact_match(one, other) == 0 and scores.exact_match(one, one) == 1


@pytest.mark.parametrize("score", scores.SCORINGS.values())
def test_an_empty_answer_scores_nothing(score):
    assert score("", ["4"]) == score(" \n", ["4"]) == 0


def test_the_best_of_several_accepted_answers_counts():
    assert scores.exact_match("four", ["4", "Four"]) == 1
    assert scores.token_f1("a b", ["c", "a b c d"]) == pytest.approx(2 * 2 / 6)


def test_contained_words_are_whole_words_in_one_run_and_chinese_is_by_character():
    assert scores.contains("It is the south gate.", "South Gate") == 1
    assert scores.contains("the gate in the south", "south gate") == 0
    assert scores.contains("knowing", "now") == 0
    assert scores.contains("建议尽快看医生。", "看医生") == 1
    assert scores.contains("12.5 mg", "12") == 0
    assert scores.contains("What?", "?") == 1 and scores.contains("What!", "?") == 0


@pytest.mark.parametrize(("answer", "accepted", "right"), [
    ("The answer is 42.", "42", 1), ("first 41, then 42", "42", 1), ("first 42, then 41", "42", 0),
    ("1,000", "1000", 1), ("０．５", "0.5", 1), (".5", "0.5", 1), ("−7", "-7", 1), ("7", "-7", 0), ("none", "0", 0),
    ("约 37.5 度", "37.5", 1), ("0.3333333", "0.3333334", 1), ("2e3x", "3", 0)])
def test_the_last_number_is_compared_as_a_number(answer, accepted, right):
    assert scores.numeric(answer, accepted) == right


def test_f1_counts_words_as_often_as_they_occur():
    assert scores.token_f1("a a b", "a b b c") == pytest.approx(2 * 2 / 7)
    assert scores.token_f1("x", "y") == 0 and scores.token_f1("…", "…") == 1 and scores.token_f1("!", "?") == 0
    assert scores.token_f1("头痛和发烧", "发烧头痛") == pytest.approx(2 * 4 / 9)


def test_bleu_is_sacrebleus_by_chinese_characters_where_there_are_any():
    english = ["the cat sat on the mat", "a dog ran far away"], ["the cat sat on a mat", "a dog ran away"]
    assert scores.bleu(*english) == sacrebleu.corpus_bleu(english[0], [english[1]], tokenize="13a").score
    chinese = ["患者需要多喝水并且休息", "请尽快去看医生"], ["患者需要多喝水并休息", "请尽快看医生"]
    assert scores.bleu(*chinese) == sacrebleu.corpus_bleu(chinese[0], [chinese[1]], tokenize="zh").score > 50
    assert sacrebleu.corpus_bleu(chinese[0], [chinese[1]], tokenize="13a").score < 20  # the usual tokenizer
    assert scores.bleu(english[1], english[1]) == pytest.approx(100)
    assert scores.bleu([""], ["something"]) == 0


def test_rouge_counts_chinese_characters_where_the_usual_tokenizer_sees_none():
    answers, references = ["多喝水"], ["多喝热水"]
    ours = scores.rouge(answers, references)
    assert ours["rouge1"] == pytest.approx(2 * 3 / 7)  # three characters in common, of three and of four
    assert ours["rouge2"] == pytest.approx(2 * 1 / 5)  # 多喝 of two and three pairs
    assert ours["rougeL"] == pytest.approx(2 * 3 / 7)
    assert RougeScorer(["rouge1"]).score(references[0], answers[0])["rouge1"].fmeasure == 0


def test_rouge_equals_rouge_scores_own_on_plain_english():
    answers, references = ["the cat sat on the mat", ""], ["a cat sat on a mat", "a dog"]
    scorer = RougeScorer(["rouge1", "rouge2", "rougeL"])
    both = [scorer.score(reference, answer) for answer, reference in zip(answers, references, strict=True)]
    want = {kind: (both[0][kind].fmeasure + both[1][kind].fmeasure) / 2 for kind in both[0]}
    assert scores.rouge(answers, references) == pytest.approx(want)


ITEMS = [{"accepted": ["4", "four"]}, {"accepted": ["Paris"]}, {"accepted": ["看医生"]}]


def test_an_exam_is_scored_question_by_question_with_an_interval():
    estimate, by_question = scores.exam_score(["Four", "London", "看医生。"], ITEMS)
    assert by_question == [1, 0, 1] and estimate.value == pytest.approx(2 / 3) and estimate.n == 3
    assert 0 < estimate.low < 2 / 3 < estimate.high < 1


@pytest.mark.parametrize(("by", "want"), [
    ("exact", [0, 0, 0]), ("contains", [1, 0, 1]), ("f1", [2 / 4, 0, 6 / 7]),
    (lambda answer, accepted: len(answer) / 100, [0.08, 0.0, 0.04])])
def test_an_exam_is_scored_by_the_function_asked_for(by, want):
    answers = ["it is: 4", "", "去看医生"]
    assert scores.exam_score(answers, ITEMS, by)[1] == pytest.approx(want)


@pytest.mark.parametrize(("call", "words"), [
    (lambda: scores.scoring("exactt"), "scoring must be one of exact, contains, numeric, f1.* Did you mean exact"),
    (lambda: scores.exam_score(["4"], [ITEMS[0]], by="rogue"), "scoring must be one of exact, .* got 'rogue'"),
    (lambda: scores.exam_score([], []), r"items must be one for each answer \(0\), at least one, got '0 items'"),
    (lambda: scores.exam_score(["4"], ITEMS), r"items must be one for each answer \(1\), .*got '3 items'"),
    (lambda: scores.exam_score(["4"], [{"accepted": "4"}]), r"items\[0\].accepted must be a list of at least one text"),
    (lambda: scores.exam_score(["4"], [{"accepted": []}]), r"items\[0\].accepted must be a list of at least one text"),
    (lambda: scores.exam_score(["4"], [{"accepted": [" "]}]), "accepted must be at least one text, none of them"),
    (lambda: scores.exam_score(["4"], [ITEMS[0]], by=lambda *_: 7), "a scoring function's result must be a number from "
                                                                    "0 to 1, got 7. .*question 0"),
    (lambda: scores.exam_score(["4"], [ITEMS[0]], by=lambda *_: math.nan), "must be a number from 0 to 1, got nan"),
    (lambda: scores.exact_match(4, "4"), "answer must be text, got 4"),
    (lambda: scores.numeric("4", "four"), "accepted must be a number for the scoring 'numeric', got 'four'. Take 'exa"),
    (lambda: scores.bleu(["a"], []), r"references must be one for each answer \(1\), at least one, got '0 references'"),
    (lambda: scores.rouge([], []), "references must be one for each answer"),
])
def test_bad_input_is_refused_in_a_sentence(call, words):
    with pytest.raises(Refusal, match=words):
        call()

"""The corpus and tokenizer of a cell, from the notes that loaded data carry."""

import numpy as np
import pytest

from celo.evaluation.corpora import Corpus, corpus_of
from celo.meta.data.text import TextData, load_documents
from celo.meta.data.tokenizers import ByteTokenizer, LearnedSubwords, PublishedSubwords
from tests.evaluation.cells import cell

LM = "TransformerLM_LM1B_MultiRuntime_0"
BYTES = "RNNLM_pydocbytes_Patch16_GRU32_Embed16_bs16"


def corpus(note, task=LM):
    return corpus_of(cell([1.0, 1.0], task, info={"data": note}))


def test_documents_in_the_place_of_the_tasks_own_are_told(tmp_path):
    note = load_documents("pydoc", ByteTokenizer(), length=4, max_documents=200, cache_dir=tmp_path).note
    found = corpus(note)
    assert found == Corpus("pydoc", "lm1b", "UTF-8 bytes, 259 ids")
    assert found is not None
    assert (found.substituted, found.retokenized) == (True, False)


@pytest.mark.parametrize(
    ("vocabulary", "other"),
    [
        (LearnedSubwords(), True),
        (PublishedSubwords("google-t5/t5-small"), False),
        (PublishedSubwords("google-t5/t5-small-2"), True),
        (PublishedSubwords("openai-community/gpt2"), True),
        (PublishedSubwords(__file__), True),  # of a file only its content counts, which is not read here
        (ByteTokenizer(), False),
    ],
)
def test_any_tokenizer_is_told_from_the_published_ones(vocabulary, other):
    found = corpus(f"lm1b (billion-word-benchmark/lm1b), 9 documents; {vocabulary.note(300)}")
    assert found is not None
    assert (found.substituted, found.retokenized) == (False, other)
    assert found.tokenizer == vocabulary.note(300)


def test_windows_of_a_text_are_the_tasks_own():
    data = TextData("pydoc", {"train": np.zeros(3, np.uint16)}, 259, "bytes")
    found = corpus(data.note, BYTES)
    assert found == Corpus("pydoc", "pydoc", "bytes")
    assert found is not None
    assert not found.retokenized


@pytest.mark.parametrize("note", [None, {"corpus": "lm1b"}, "", "images; of something", "lm1b"])
def test_what_is_no_note_on_text_says_nothing(note):
    assert corpus(note) is None


def test_a_task_that_is_not_registered_has_no_corpus_of_its_own():
    found = corpus("lm1b (x), 9 documents; UTF-8 bytes, 259 ids", "mine")
    assert found is not None
    assert not found.substituted

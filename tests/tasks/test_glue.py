import lzma

import pytest

from electra_cli.errors import DataError
from electra_cli.tasks.glue import GLUE, dev_files, read_glue, task_folder, train_file
from electra_cli.tasks.labels import encode_labels

# Row counts of ../shared/data/README.md (train and the first dev set)
COUNTS = {
    "cola": (8551, 1043),
    "sst-2": (67349, 872),
    "mrpc": (3668, 408),
    "sts-b": (5749, 1500),
    "qqp": (23496, 9372),
    "mnli": (8999, 9815),
    "rte": (2490, 277),
    "wnli": (635, 71),
}


def write(folder, name, text):
    folder.mkdir(parents=True, exist_ok=True)
    (folder / name).write_bytes(text.encode())
    return folder / name


def test_the_nine_tasks_are_there():
    assert list(GLUE) == ["cola", "sst-2", "mrpc", "sts-b", "qqp", "mnli", "qnli", "rte", "wnli"]
    assert [name for name, entry in GLUE.items() if entry.task.swap] == ["mrpc", "sts-b"]
    assert {name: entry.task.epochs for name, entry in GLUE.items() if entry.task.epochs != 3} == {
        "sts-b": 10,
        "rte": 10,
    }


@pytest.mark.parametrize("name", COUNTS)
def test_row_counts_are_the_official_ones(shared_data, name):
    entry = GLUE[name]
    glue = shared_data / "glue"
    (dev, *_) = dev_files(glue, entry).values()
    for path, rows in zip((train_file(glue, entry), dev), COUNTS[name], strict=True):
        examples = read_glue(path, entry)
        assert len(examples) == rows
        assert examples.skipped == 0
        targets = encode_labels(examples, entry.task)
        assert len(targets) == rows
        if entry.task.kind == "single_label":
            assert set(targets.tolist()) == set(range(len(entry.task.labels)))
        else:
            assert targets.min() == 0 and targets.max() == 1


def test_known_rows_of_real_files(shared_data):
    mrpc = read_glue(shared_data / "glue/MRPC/dev.tsv", GLUE["mrpc"])
    assert mrpc.texts[0].startswith("He said the foodservice pie business doesn 't fit")
    assert (mrpc.pairs or [""])[0].startswith('" The foodservice pie business does not fit')
    assert ((mrpc.labels or [""])[0], mrpc.lines[0]) == ("1", 2)
    mnli = read_glue(shared_data / "glue/MNLI/kshot_16-13_train.tsv", GLUE["mnli"])
    assert len(mnli) == 48
    assert mnli.texts[0].startswith("Price caps may sound")
    assert set(mnli.labels or ()) == set(GLUE["mnli"].task.labels)
    cola = read_glue(shared_data / "glue/CoLA/test.tsv", GLUE["cola"])
    assert (len(cola), cola.texts[0], cola.labels) == (1063, "Bill whistled past the house.", None)


def test_unbalanced_quotes_do_not_join_rows(tmp_path):
    rows = ['"unbalanced\t1', 'a " b\t0', '" x\t1']
    path = write(tmp_path, "dev.tsv", "sentence\tlabel\n" + "\n".join(rows) + "\n")
    examples = read_glue(path, GLUE["sst-2"])
    assert list(examples.texts) == ['"unbalanced', 'a " b', '" x']
    assert len(examples) == path.read_bytes().count(b"\n") - 1


def test_a_byte_order_mark_and_windows_line_ends_are_dropped(tmp_path):
    text = "\ufeffQuality\t#1 ID\t#2 ID\t#1 String\t#2 String\r\n1\t5\t6\tone\ttwo\r\n"
    examples = read_glue(write(tmp_path, "train.tsv", text), GLUE["mrpc"])
    assert (examples.labels, examples.texts, examples.pairs) == (["1"], ["one"], ["two"])


def test_columns_are_found_by_name_in_any_order(tmp_path):
    path = write(tmp_path, "dev.tsv", "label\textra\tsentence2\tsentence1\nentailment\t?\tb\ta\n")
    examples = read_glue(path, GLUE["rte"])
    assert (examples.texts, examples.pairs, examples.labels) == (["a"], ["b"], ["entailment"])


def test_qnli_rows(tmp_path):
    text = "index\tquestion\tsentence\tlabel\n0\twho?\tshe.\tentailment\n1\twhen?\tnever.\tnot_entailment\n"
    entry = GLUE["qnli"]
    examples = read_glue(write(tmp_path / "QNLI", "train.tsv", text), entry)
    assert (examples.texts, examples.pairs) == (["who?", "when?"], ["she.", "never."])
    assert encode_labels(examples, entry.task).tolist() == [0, 1]


def test_unicode_line_separators_stay_inside_a_row(tmp_path):
    path = write(tmp_path, "dev.tsv", "sentence\tlabel\na\u2028b\u0085c\rd\t1\n")
    assert list(read_glue(path, GLUE["sst-2"]).texts) == ["a\u2028b\u0085c\rd"]


@pytest.mark.parametrize("folder", ["MRPC", "mrpc", "."])
def test_the_task_is_found_in_the_glue_folder_or_given_itself(tmp_path, folder):
    write(tmp_path / folder, "train.tsv", "x")
    assert task_folder(tmp_path, GLUE["mrpc"]) == tmp_path / folder


def test_packed_files_are_read_when_the_plain_one_is_missing(tmp_path):
    (tmp_path / "train.tsv.xz").write_bytes(lzma.compress(b"sentence\tlabel\ngood\t1\n"))
    path = train_file(tmp_path, GLUE["sst-2"])
    assert read_glue(path, GLUE["sst-2"]).texts == ["good"]
    path.write_bytes(path.read_bytes()[:-9])
    with pytest.raises(DataError) as error:
        read_glue(path, GLUE["sst-2"])
    assert error.value.code == "BAD_COMPRESSION"


def test_the_mismatched_dev_set_counts_only_where_it_is(tmp_path):
    for name in ("train.tsv", "dev_matched.tsv"):
        write(tmp_path, name, "x")
    assert list(dev_files(tmp_path, GLUE["mnli"])) == ["dev"]
    write(tmp_path, "dev_mismatched.tsv", "x")
    assert list(dev_files(tmp_path, GLUE["mnli"])) == ["dev", "dev_mismatched"]


def test_few_broken_rows_are_counted_and_many_are_an_error(tmp_path):
    good = "".join(f"sentence {n}\t1\n" for n in range(3000))
    path = write(tmp_path, "dev.tsv", "sentence\tlabel\n" + good + "broken\nbroken\n")
    examples = read_glue(path, GLUE["sst-2"])
    assert (len(examples), examples.skipped) == (3000, 2)
    path = write(tmp_path, "dev.tsv", "sentence\tlabel\n" + good + "broken\n" * 9)
    with pytest.raises(DataError) as error:
        read_glue(path, GLUE["sst-2"])
    assert error.value.code == "RAGGED_ROWS"


@pytest.mark.parametrize(
    ("text", "code"),
    [
        ("", "NO_ROWS"),
        ("sentence\tlabel\n", "NO_ROWS"),
        ("text\tlabel\na\t1\n", "MISSING_COLUMN"),
        ("sentence\tlabel\tsentence\na\t1\tb\n", "DUPLICATE_COLUMN"),
    ],
)
def test_files_that_are_not_the_tasks_are_refused(tmp_path, text, code):
    path = write(tmp_path, "train.tsv", text)
    with pytest.raises(DataError) as error:
        read_glue(path, GLUE["sst-2"])
    assert error.value.code == code
    assert error.value.exit_code == 3
    assert str(path) in str(error.value)


def test_missing_files_are_named(tmp_path):
    with pytest.raises(DataError, match="MRPC"):
        train_file(tmp_path, GLUE["mrpc"])
    with pytest.raises(DataError) as error:
        train_file(tmp_path / "nowhere", GLUE["mrpc"])
    assert error.value.code == "MISSING_INPUT"


def test_a_test_file_without_labels_can_be_read_but_not_scored(shared_data):
    examples = read_glue(shared_data / "glue/MRPC/test.tsv", GLUE["mrpc"])
    assert len(examples) == 1725
    assert examples.labels is None
    with pytest.raises(DataError) as error:
        encode_labels(examples, GLUE["mrpc"].task)
    assert error.value.code == "NO_LABELS"

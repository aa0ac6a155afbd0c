import csv
import json
import sys
from pathlib import Path

import pytest

from repro.worlds.prompts import PromptEntry, PromptFileError
from repro.worlds.prompts.coco import read_coco
from repro.worlds.prompts.geneval import read_geneval
from repro.worlds.prompts.mjhq import read_mjhq
from repro.worlds.prompts.parti import read_parti
from repro.worlds.prompts.plain import read_plain

COCO = ',file_name,caption\n7,COCO_val2014_000000246955.jpg,A cow\n3,COCO_val2014_000000000042.jpg,"Salt, ""pepper"""\n'
PARTI = 'Prompt\tCategory\tChallenge\tNote\nbond\tAbstract\tBasic\tn\n"G I" painted\tArts\tWriting & Symbols\t\n'
COUNTING = {
    "tag": "counting",
    "include": [{"class": "clock", "count": 2}],
    "exclude": [{"class": "clock", "count": 3}],
    "prompt": "a photo of two clocks",
}


def written(folder: Path, name: str, content: str | bytes) -> Path:
    path = folder / name
    path.write_bytes(content.encode() if isinstance(content, str) else content)
    return path


@pytest.mark.parametrize("encoding", ["utf-8", "utf-8-sig", "utf-16"])
@pytest.mark.parametrize("ending", ["\n", "\r\n"])
def test_release_coco_in_every_encoding(tmp_path: Path, encoding: str, ending: str) -> None:
    text = COCO.replace("A cow", "A caf\u00e9").replace("\n", ending)
    assert read_coco(written(tmp_path, "coco.csv", text.encode(encoding))) == [
        PromptEntry(id="7", caption="A caf\u00e9", image="COCO_val2014_000000246955.jpg"),
        PromptEntry(id="3", caption='Salt, "pepper"', image="COCO_val2014_000000000042.jpg"),
    ]


def test_coco_of_other_tools(tmp_path: Path) -> None:
    dalleval = written(tmp_path, "a.csv", "uid,caption\n346904_mscoco_0,A bus\n")
    assert read_coco(dalleval) == [
        PromptEntry(id="346904_mscoco_0", caption="A bus", image="COCO_val2014_000000346904")
    ]
    images = read_coco(written(tmp_path, "b.csv", "IMAGE_ID,Caption\n42,A bus\n42,A red bus\n"))
    assert {entry.image for entry in images} == {"COCO_val2014_000000000042"}
    assert len({entry.id for entry in images}) == 2
    swapped = read_coco(written(tmp_path, "c.csv", "IMAGE_ID,Caption\n42,A red bus\n42,A bus\n"))
    assert sorted(swapped, key=lambda entry: entry.id) == sorted(images, key=lambda entry: entry.id)


def test_a_caption_over_two_lines_is_one_caption_and_lines_are_still_counted(tmp_path: Path) -> None:
    text = 'id,caption\n1,"A room \n for two.\n"\n2,\n'
    with pytest.raises(PromptFileError, match=r"line 5: the caption is empty; expected some text"):
        read_coco(written(tmp_path, "coco.csv", text))
    fine = read_coco(written(tmp_path, "coco.csv", text.replace("2,\n", "2,x\n")))
    assert fine[0].caption == "A room for two."


@pytest.mark.parametrize(
    ("content", "message"),
    [
        ("", "is empty; expected prompts"),
        ("id,caption\n", "holds no prompts; expected at least one"),
        ("id,text2\n1,a\n", r"line 1: no column 'caption' or 'captions' or 'prompt' or 'text' in 'id', 'text2'"),
        ("id,caption,caption\n1,a,b\n", "line 1: column 'caption' stands twice"),
        ("id,caption\n1,a\n2\n", r"line 3: 1 fields; expected 2 as in the header 'id', 'caption'"),
        ("id,caption\n1,a,b\n", "line 2: 3 fields; expected 2"),
        ("id,caption\n1,a\n2,  \n", "line 3: the caption is empty"),
        ("id,caption\n,a\n", "line 2: the id is empty"),
        ("id,caption\n1,a\n2,b\n1,c\n", "line 4: id '1' stands in line 2 too"),
        ('id,caption\n1,a\n2,"b\n3,c\n', "row that begins in line 3: .*quote"),
        ("id,caption\n1,caf\u00e9\n".encode("latin-1"), "line 2: byte 0xe9 is not UTF-8.*iconv -f LATIN1"),
        ("id,caption\n1,a\n".encode("utf-16-le"), "line 1: a zero byte; expected text in UTF-8, or in UTF-16 with"),
        (b"\xff\xfei\x00d\x00,", "is not UTF-16-LE"),
        ("id,caption\n1," + "a" * 200_000 + "\n", "row that begins in line 2: field larger than field limit"),
    ],
)
def test_csv_is_refused_by_line(tmp_path: Path, content: str | bytes, message: str) -> None:
    with pytest.raises(PromptFileError, match=message):
        read_coco(written(tmp_path, "coco.csv", content))


def test_no_file(tmp_path: Path) -> None:
    with pytest.raises(PromptFileError, match=r"cannot read .*coco\.csv: No such file"):
        read_coco(tmp_path / "coco.csv")


def test_parti_keeps_quotation_marks_that_csv_would_take(tmp_path: Path) -> None:
    path = written(tmp_path, "PartiPrompts.tsv", PARTI)
    assert read_parti(path) == [
        PromptEntry(id="0000", caption="bond", category="Abstract", kind="Basic"),
        PromptEntry(id="0001", caption='"G I" painted', category="Arts", kind="Writing & Symbols"),
    ]
    with path.open(encoding="utf-8", newline="") as stream:
        assert next(row for row in csv.reader(stream, delimiter="\t") if "painted" in row[0])[0] == "G I painted"
    with pytest.raises(PromptFileError, match="line 1: no column 'Challenge'"):
        read_parti(written(tmp_path, "bad.tsv", PARTI.replace("Challenge", "Challenges")))


def test_mjhq_by_category(tmp_path: Path) -> None:
    data = {"b": {"category": "people", "prompt": "a  man"}, "a": {"category": "art", "prompt": "a vase"}}
    path = written(tmp_path, "meta_data.json", json.dumps(data))
    man = PromptEntry(id="b", caption="a man", category="people", image="people/b")
    assert read_mjhq(path) == [man, PromptEntry(id="a", caption="a vase", category="art", image="art/a")]
    assert read_mjhq(path, "people") == [man]
    with pytest.raises(PromptFileError, match="no category 'cats'; known are art, people"):
        read_mjhq(path, "cats")


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (
            '{"a": {"category": "art", "prompt": "x"}, "a": {"category": "art", "prompt": "y"}}',
            "object 2: id 'a' stands in",
        ),
        ('{"a": {"category": "art"}}', "object 1: 'a' is .*; expected"),
        ('{"a": "text"}', "object 1: 'a' is 'text'; expected"),
        ('{"a": {"category": "art", "prompt": " "}}', "object 1: the caption is empty"),
        ('{"a":\n {"category"\n', "line 3: .*; expected one JSON object"),
        ("[1]", "holds a list; expected one JSON object"),
        ("{}", "holds no prompts"),
    ],
)
def test_mjhq_is_refused(tmp_path: Path, content: str, message: str) -> None:
    with pytest.raises(PromptFileError, match=message):
        read_mjhq(written(tmp_path, "meta_data.json", content))


def test_geneval_keeps_the_object(tmp_path: Path) -> None:
    single = {"tag": "single_object", "include": [{"class": "cow", "count": 1}], "prompt": "a photo of a cow"}
    path = written(tmp_path, "m.jsonl", f"{json.dumps(single)}\r\n\r\n{json.dumps(COUNTING)}\r\n")
    first, second = read_geneval(path)
    assert (first.id, first.caption, first.category, first.geneval) == (
        "00000",
        "a photo of a cow",
        "single_object",
        single,
    )
    assert (second.id, second.geneval) == ("00001", COUNTING)


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"prompt": None}, "line 1: prompt is None; expected text"),
        ({"tag": "count"}, "line 1: tag is 'count'; expected one of single_object"),
        ({"include": []}, "line 1: include is .*; expected a list of what must be seen"),
        ({"exclude": ["clock"]}, r"line 1: exclude\[0\] is 'clock'; expected"),
        ({"include": [{"class": "clock"}]}, r"line 1: include\[0\] is"),
        ({"include": [{"class": "a", "count": 1, "position": ["near", 0]}]}, "relation one of left of, right of"),
        ({"include": [{"class": "a", "count": 1, "position": ["above", 0]}]}, "relative to an earlier inclusion"),
    ],
)
def test_geneval_is_refused_by_line(tmp_path: Path, changes: dict, message: str) -> None:
    with pytest.raises(PromptFileError, match=message):
        read_geneval(written(tmp_path, "m.jsonl", json.dumps({**COUNTING, **changes})))


@pytest.mark.parametrize(
    ("name", "content"),
    [
        ("p.txt", "a cat\r\n\r\na  dog"),
        ("p.csv", "prompt\na cat\na dog\n"),
        ("p.tsv", "Text\na cat\na dog\n"),
        ("p.jsonl", '{"caption": "a cat"}\n{"caption": "a dog"}\n'),
    ],
)
def test_a_file_of_the_users_own(tmp_path: Path, name: str, content: str) -> None:
    entries = read_plain(written(tmp_path, name, content))
    assert [(entry.id, entry.caption) for entry in entries] == [("0", "a cat"), ("1", "a dog")]


@pytest.mark.parametrize(
    ("name", "content", "message"),
    [
        ("p.xlsx", "x", r"ends in '.xlsx'; expected one of .txt, .csv, .tsv, .jsonl"),
        ("p.jsonl", '{"caption": "a"}\n{"title": "b"}\n', "line 2: no 'caption' or 'prompt' or 'text' in 'title'"),
        ("p.jsonl", '{"caption": "a"}\n{"caption"\n', "line 2: .* expected JSON"),
        ("p.jsonl", '["a"]\n', "line 1: a list; expected a JSON object"),
        ("p.jsonl", '{"id": 4, "caption": "a"}\n\n{"id": 4, "caption": "b"}\n', "line 3: id '4' stands in line 1 too"),
    ],
)
def test_a_file_of_the_users_own_is_refused(tmp_path: Path, name: str, content: str, message: str) -> None:
    with pytest.raises(PromptFileError, match=message):
        read_plain(written(tmp_path, name, content))


def test_a_separator_inside_a_caption_is_no_new_prompt(tmp_path: Path) -> None:
    assert len(read_plain(written(tmp_path, "p.txt", "a\u2028b\nc"))) == 2


def test_parquet_and_saved_data_sets(tmp_path: Path) -> None:
    datasets = pytest.importorskip("datasets")
    rows = datasets.Dataset.from_dict({"image": [b"no image"] * 2, "caption": ["A cow", "A pig"]})
    (tmp_path / "hub" / "data").mkdir(parents=True)
    rows.to_parquet(tmp_path / "hub" / "data" / "train-0.parquet")
    rows.save_to_disk(tmp_path / "saved")
    expected = [PromptEntry(id="0", caption="A cow"), PromptEntry(id="1", caption="A pig")]
    assert read_coco(tmp_path / "hub") == expected
    assert read_coco(tmp_path / "saved") == expected
    datasets.Dataset.from_dict({"caption": ["a", None]}).save_to_disk(tmp_path / "none")
    with pytest.raises(PromptFileError, match=r"row 1: None is a NoneType; expected text or a number"):
        read_coco(tmp_path / "none")
    datasets.Dataset.from_dict({"title": ["a"]}).to_parquet(tmp_path / "titles.parquet")
    with pytest.raises(PromptFileError, match=r"no column 'caption' or .* in title"):
        read_coco(tmp_path / "titles.parquet")
    (tmp_path / "torn.parquet").write_bytes((tmp_path / "titles.parquet").read_bytes()[:-20])
    with pytest.raises(PromptFileError, match=r"cannot load the data set .*torn.parquet"):
        read_coco(tmp_path / "torn.parquet")
    (tmp_path / "empty").mkdir()
    with pytest.raises(PromptFileError, match=r"is no data set; expected \.parquet files"):
        read_coco(tmp_path / "empty")


def test_a_data_set_of_the_hub_needs_the_extra(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "datasets", None)
    with pytest.raises(
        PromptFileError, match=r"owner/name is read by the package datasets.*pip install -e '.\[datasets\]'"
    ):
        read_coco("owner/name")

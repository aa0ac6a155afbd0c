from pathlib import Path

import pytest
from PIL import Image
from PIL.PngImagePlugin import PngInfo
from study_world import edit, make_images, tiny_study

from repro.study.contents import read_contents, serve_images, store_contents
from repro.study.database import Database
from repro.study.definition import Study, load_study
from repro.study.errors import StudyError
from repro.study.folders import pair_up
from repro.study.making import Request, make_study
from repro.study.texts import MASTER, load_texts
from repro.worlds.prompts import PromptFileError


@pytest.fixture(scope="module")
def study(tmp_path_factory: pytest.TempPathFactory) -> Study:
    return tiny_study(tmp_path_factory.mktemp("definition"), prompts=2)


def changed(study: Study, tmp_path: Path, old: str, new: str) -> Study:
    """The study in a copy of its file beside it."""
    text = study.file.read_text()
    assert old in text
    path = study.folder / f"{tmp_path.name}.toml"
    path.write_text(text.replace(old, new, 1))
    return load_study(path)


def test_what_was_written_is_read_again(study: Study) -> None:
    assert study == load_study(study.file)
    assert (study.name, study.assessors, study.pairs) == ("tiny", 3, (("ours", "theirs"),))
    assert {check.use for check in study.checks} == {"training", "attention"}
    assert not list(study.folder.glob("**/*-0.png")), "images of the systems stay where they are"


@pytest.mark.parametrize(
    ("old", "new", "said"),
    [
        ('name = "tiny"', 'name = "a b"', "name is 'a b'"),
        ('name = "tiny"', 'name = "tiny"\nnmae = 1', "unknown key 'nmae'"),
        ('name = "tiny"', "", "lacks the key 'name'"),
        ('"relevance"', '"beauty"', "a criterion is 'beauty'; expected one of relevance"),
        ('"relevance", ', "", "a check of relevance, which is not among the criteria"),
        ("assessors = 3", "assessors = 0", "assessors is 0"),
        ("assessors = 3", "assessors = true", "assessors is True"),
        ("attention = 0.1", "attention = 1.0", "attention is 1.0"),
        ('[["ours", "theirs"]]', '[["ours", "ours"]]', "is no pair"),
        ('[["ours", "theirs"]]', '[["ours", "theirs"], ["theirs", "ours"]]', "expected each pair once"),
        ('answer = "first"', 'answer = "best"', "answer of check 1 is 'best'"),
        ('sub_questions = "asked"', 'sub_questions = "no"', "expected one of asked, shown"),
        ("seed = 0", "seed =", "is not TOML"),
    ],
)
def test_a_study_file_that_is_not_as_expected_names_the_value(
    study: Study, tmp_path: Path, old: str, new: str, said: str
) -> None:
    with pytest.raises(StudyError) as error:
        changed(study, tmp_path, old, new)
    assert said in str(error.value)


def test_folders_that_do_not_pair_up_name_the_images(tmp_path: Path) -> None:
    a = make_images(tmp_path / "a", prompts=2, images=1, side=8, seed=0)
    b = make_images(tmp_path / "b", prompts=2, images=1, side=8, seed=1)
    assert list(pair_up({"a": a, "b": b})["b"]) == ["0-0", "1-0"]
    (a / "1-0.png").unlink()
    with pytest.raises(StudyError, match=r"1 images of b .* are not in a .*: 1-0"):
        pair_up({"a": a, "b": b})
    Image.new("RGB", (8, 9)).save(a / "1-0.png")
    with pytest.raises(StudyError, match=r"8 x 9 pixels and .* 8 x 8"):
        pair_up({"a": a, "b": b})
    (a / "1-0.png").write_bytes((b / "1-0.png").read_bytes())
    (a / "1-0.jpg").write_bytes(b"")
    with pytest.raises(StudyError, match=r"1-0.jpg and 1-0.png; expected one of them"):
        pair_up({"a": a, "b": b})


@pytest.mark.parametrize(
    ("captions", "options", "said"),
    [
        ("one\n", {}, "1 images have no prompt in"),
        ("one\ntwo\nthree\n", {}, "2 of 3 prompts"),
        ("one\ntwo\nthree\n", {"num_prompts": 3}, "expected 3 (--num-prompts); missing: 2-0"),
        ("one\ntwo\n", {"images": 2}, "0 of 2 prompts"),
        ("one\ntwo\n", {"name": "a/b"}, "'a/b' is no name"),
        ("one\ntwo\n", {"attention": 2.0}, "attention is 2.0"),
        ("one\ntwo\n", {"language": "xx"}, "no texts for language 'xx'"),
        ("one\ntwo\n", {"seed": -1}, "seed is -1; expected a whole number from 0"),
        ("one\ntwo\n", {"images": 0}, "images is 0"),
        ("one\ntwo\n", {"num_prompts": 0}, "num_prompts is 0"),
        ("one\ntwo\n", {"criteria": ["beauty"]}, "a criterion is 'beauty'"),
        ("one\ntwo\n", {"systems": {}}, "at least two systems"),
    ],
)
def test_a_new_study_is_refused_before_anything_is_written(
    tmp_path: Path, captions: str, options: dict[str, object], said: str
) -> None:
    systems = {
        name: make_images(tmp_path / name, prompts=2, images=1, side=8, seed=seed) for seed, name in enumerate("ab")
    }
    (tmp_path / "p.txt").write_text(captions)
    request = {"systems": systems, "prompts": tmp_path / "p.txt", "out": tmp_path / "out", "images": 1, **options}
    with pytest.raises(StudyError) as error:
        make_study(Request(**request))  # type: ignore[arg-type]
    assert said in str(error.value)
    assert not (tmp_path / "out").exists()


def test_prompts_are_a_seeded_draw_of_those_with_images(tmp_path: Path) -> None:
    one = tiny_study(tmp_path, prompts=6, num_prompts=3)
    captions = (one.folder / "prompts.jsonl").read_text()
    assert captions.count("\n") == 3
    with pytest.raises(StudyError, match="exists; expected a folder without a study"):
        make_study(Request(systems=one.systems, prompts=one.prompts, out=one.folder))


def test_a_prompt_file_is_strict(study: Study, tmp_path: Path) -> None:
    bad = study.folder / "bad.jsonl"
    bad.write_text('{"id": "0", "caption": ""}\n')
    with pytest.raises(PromptFileError, match="line 1: the caption is empty"):
        read_contents(changed(study, tmp_path, "prompts.jsonl", "bad.jsonl"), load_texts("en", tmp_path))


def test_what_is_served_is_the_pixels_alone(tmp_path: Path) -> None:
    study = tiny_study(tmp_path, prompts=2, criteria=["defects"])
    source = study.systems["ours"] / "0-0.png"
    telling = PngInfo()
    telling.add_text("Software", "our system")
    before = Image.open(source).convert("RGB")
    before.save(source, pnginfo=telling, dpi=(72, 72), icc_profile=b"0" * 200)
    contents = read_contents(study, load_texts("en", tmp_path))
    served = serve_images(contents)
    copy = served[next(digest for digest, path in contents.sources.items() if path == source)]
    with Image.open(copy) as image:
        assert not image.info
        assert image.tobytes() == before.tobytes()
    assert b"our system" not in copy.read_bytes()
    assert "ours" not in copy.name


@pytest.mark.parametrize(
    ("old", "new", "part"),
    [
        ("seed = 0", "seed = 1", "seed"),
        ("assessors = 3", "assessors = 4", "assessors"),
        ('language = "en"', 'language = "de"', "questions"),
        ('"../theirs"', '"../other"', "images of theirs"),
    ],
)
def test_a_study_that_changed_after_votes_is_refused(tmp_path: Path, old: str, new: str, part: str) -> None:
    study = tiny_study(tmp_path, prompts=2, criteria=["defects"])
    make_images(tmp_path / "other", prompts=2, images=1, side=16, seed=9)
    database = Database(study.database)
    store_contents(database, read_contents(study, load_texts("en", tmp_path)))
    edit(study, old, new)
    changed = load_study(study.file)
    texts = load_texts(changed.language, tmp_path)
    store_contents(database, read_contents(changed, texts))  # without votes, it may
    edit(study, new, old)
    store_contents(database, read_contents(study, load_texts("en", tmp_path)))
    with database.transaction():
        task = database.value("SELECT id FROM task WHERE kind = 'study'")
        database.write("INSERT INTO assessor (name, role, token_hash, expires) VALUES ('A1', 'assessor', '', 9e9)")
        database.write(
            "INSERT INTO assignment (task, assessor, token, left_token, right_token, flipped, shown, expires, choice, "
            "seconds, answered, revision, number) VALUES (?, 1, 't', 'l', 'r', 0, 0, 9e9, 'tie', 1, 1, 1, 1)",
            task,
        )
    store_contents(database, read_contents(study, load_texts("en", tmp_path)))
    with pytest.raises(StudyError, match=f"changed after 1 answers were given: {part};"):
        store_contents(database, read_contents(changed, texts))
    assert database.value("SELECT count(*) FROM assignment WHERE choice = 'tie'") == 1


def test_german_says_everything_that_english_does(tmp_path: Path) -> None:
    english, german = load_texts("en", tmp_path), load_texts("de", tmp_path)
    assert (
        english.parts("aesthetics")
        == german.parts("aesthetics")
        == [
            "brightness",
            "colour",
            "glow",
            "main",
            "background",
            "detail",
        ]
    )
    assert english("common.left") == "Left"
    assert german("common.left") == "Links"
    assert english.questions != german.questions


def test_words_around_the_questions_may_change_under_a_running_study(tmp_path: Path) -> None:
    text = MASTER.read_text(encoding="utf-8")
    (tmp_path / "button.toml").write_text(text.replace('confirm = "Confirm"', 'confirm = "Go on"', 1))
    (tmp_path / "asked.toml").write_text(text.replace("Which image looks better?", "Which do you like?", 1))
    shipped = load_texts("en", tmp_path).questions
    assert load_texts("button.toml", tmp_path).questions == shipped
    assert load_texts("asked.toml", tmp_path).questions != shipped


@pytest.mark.parametrize(
    ("old", "new", "said"),
    [
        ('tie = "Equal"\n', "", "lacks the key 'common.tie'"),
        ('tie = "Equal"', 'tie = "Equal"\nty = "x"', "has the unknown key 'common.ty'"),
        ('tie = "Equal"', 'tie = ""', "the text of 'common.tie' is empty"),
        ('tie = "Equal"', "tie = 2", "common.tie is 2; expected text"),
        ("{done} of {total} answered", "{done} answered", "'home.progress' has the placeholders ['done']"),
        ("{done} of {total} answered", "{done", "'home.progress'"),
    ],
)
def test_a_file_of_texts_that_is_not_complete_names_the_key(tmp_path: Path, old: str, new: str, said: str) -> None:
    text = MASTER.read_text(encoding="utf-8")
    assert old in text
    (tmp_path / "xx.toml").write_text(text.replace(old, new, 1))
    with pytest.raises(StudyError) as error:
        load_texts("xx.toml", tmp_path)
    assert said in str(error.value)

import os
import re
import sys
from pathlib import Path

import pytest

from wavflow_core.batch import Failure, Job, Summary, read_csv, read_folder, run_jobs
from wavflow_core.errors import WavFlowError

HEADER = "video_path,caption,video_exist,text_exist,id\n"


@pytest.fixture
def table(tmp_path):
    (tmp_path / "clip.mp4").touch()

    def write(text, header=HEADER):
        path = tmp_path / "rows.csv"
        path.write_text(header + text, encoding="utf-8")
        return path

    return write


def test_rows_become_jobs_with_and_without_video_text_and_id(table, tmp_path):
    jobs = read_csv(
        table('clip.mp4,"a dog, ""barking""",1,1,one\nclip.mp4,unused,1,0,\n,rain,0,1,\n')
    )
    assert jobs == [
        Job(name="one", video=tmp_path / "clip.mp4", prompt='a dog, "barking"'),
        Job(name="clip", video=tmp_path / "clip.mp4"),
        Job(name="row_00002", prompt="rain"),
    ]


def test_the_id_column_may_be_absent_and_a_byte_order_mark_present(table):
    path = table("clip.mp4,x,1,1\n", header="\ufeffvideo_path,caption,video_exist,text_exist\n")
    assert [job.name for job in read_csv(path)] == ["clip"]


@pytest.mark.parametrize(
    ("row", "reason"),
    [
        ("none.mp4,x,1,1,a\n", "no video .*none.mp4"),
        (",x,1,1,a\n", "no video"),
        ("clip.mp4,x,yes,1,a\n", "video_exist is 'yes'; it must be 0 or 1"),
        (",,0,1,a\n", "neither a video nor a caption"),
        ("clip.mp4,x,0,0,a\n", "neither a video nor a caption"),
        ("clip.mp4,x,1,1,../../escape\n", "cannot be a file name"),
        ("clip.mp4,x,1,1,.hidden\n", "cannot be a file name"),
        (f"clip.mp4,x,1,1,{chr(0x5B57) * 100}\n", "cannot be a file name"),
        (f"{'n' * 300}.mp4,x,1,1,a\n", "line 2: there is no video"),
        ("clip.mp4\n", "must be 0 or 1"),
    ],
)
def test_a_bad_row_fails_alone(table, row, reason):
    bad, good = read_csv(table(row + "clip.mp4,x,1,1,good\n"))
    assert isinstance(bad, Failure)
    assert isinstance(good, Job)
    assert re.search(reason, bad.reason)


def test_ids_of_video_sites_may_begin_with_a_dash_or_an_underscore(table):
    jobs = read_csv(table("clip.mp4,x,1,1,-0jeONf82dE_000010\nclip.mp4,x,1,1,_ab's [1]\n"))
    assert [job.name for job in jobs] == ["-0jeONf82dE_000010", "_ab's [1]"]


def test_a_second_row_of_the_same_name_is_a_failure_because_it_would_overwrite(table):
    first, second = read_csv(table("clip.mp4,x,1,1,Same\nclip.mp4,y,1,1,same\n"))
    assert isinstance(first, Job)
    assert second == Failure(name="same", reason="another job before it has the same name")


@pytest.mark.parametrize(
    ("text", "header", "message"),
    [
        ("a,b\n", "video_path,caption\n", "lacks the columns video_exist, text_exist"),
        ("", HEADER, "no rows"),
        ("", "", "lacks the columns"),
        ('"open', HEADER, "cannot be read as a CSV"),
    ],
)
def test_a_table_that_cannot_be_used_is_an_error(table, text, header, message):
    with pytest.raises(WavFlowError, match=message):
        read_csv(table(text, header))


def test_a_file_that_is_no_text_is_an_error(tmp_path):
    (tmp_path / "rows.csv").write_bytes(b"\xff\xfe\x00\x81")
    with pytest.raises(WavFlowError, match="cannot be read as a CSV"):
        read_csv(tmp_path / "rows.csv")


def test_a_folder_gives_its_videos_in_order(tmp_path):
    for name in ("b.MP4", "a.mkv", "notes.txt", "._a.mkv"):
        (tmp_path / name).touch()
    (tmp_path / "folder.mp4").mkdir()
    jobs = read_folder(tmp_path, prompt="wind")
    assert [(job.name, job.prompt) for job in jobs] == [("a", "wind"), ("b", "wind")]


@pytest.mark.skipif(sys.platform != "linux", reason="names there are bytes")
def test_names_that_are_no_text_are_names_all_the_same(tmp_path):
    Path(os.fsdecode(bytes(tmp_path) + b"/caf\xe9.mp4")).touch()
    [job] = read_folder(tmp_path, prompt="wind")
    assert os.fsencode(job.name) == b"caf\xe9"


def test_two_videos_that_differ_in_their_suffix_alone_do_not_overwrite_each_other(tmp_path):
    for name in ("a.mp4", "a.mkv"):
        (tmp_path / name).touch()
    first, second = read_folder(tmp_path)
    assert isinstance(first, Job)
    assert isinstance(second, Failure)


def test_a_missing_or_empty_folder_is_an_error(tmp_path):
    with pytest.raises(WavFlowError, match="holds no video"):
        read_folder(tmp_path)
    with pytest.raises(WavFlowError, match="not a folder"):
        read_folder(tmp_path / "none")


def test_jobs_go_on_after_a_failure_and_skip_what_is_there(tmp_path):
    (tmp_path / "done.wav").touch()
    seen = []

    def make(job):
        seen.append(job.name)
        if job.name == "bad":
            raise WavFlowError("broken")

    jobs = [
        Job(name="bad"),
        Failure(name="row", reason="no video"),
        Job(name="done"),
        Job(name="c"),
    ]
    outputs = lambda job: [tmp_path / f"{job.name}.wav"]  # noqa: E731
    last = run_jobs(jobs, outputs=outputs, make=make)
    assert seen == ["bad", "c"]
    assert last == Summary(
        made=1,
        skipped=1,
        failures=(Failure(name="bad", reason="broken"), Failure(name="row", reason="no video")),
    )
    assert run_jobs(jobs[2:3], outputs=outputs, make=make, overwrite=True).made == 1


@pytest.mark.parametrize("overwrite", [False, True])
def test_a_video_of_the_batch_is_never_written_over(tmp_path, overwrite):
    videos = [tmp_path / name for name in ("a.mp4", "b.mp4")]
    for video in videos:
        video.write_bytes(b"precious")
    # The second job's output is the first one's video, by another way to it.
    names = {"a": tmp_path / "a.mp4", "x": tmp_path / "." / "sub" / ".." / "a.mp4"}
    (tmp_path / "sub").mkdir()
    jobs = [Job(name="a", video=videos[0]), Job(name="x", video=videos[1])]
    last = run_jobs(
        jobs,
        outputs=lambda job: [names[job.name]],
        make=lambda job: names[job.name].write_bytes(b"new"),
        overwrite=overwrite,
    )
    assert (last.made, last.skipped) == (0, 0)
    assert all("over a video of the batch" in failure.reason for failure in last.failures)
    assert [video.read_bytes() for video in videos] == [b"precious"] * 2


@pytest.mark.parametrize("error", [RuntimeError("CUDA out of memory"), OSError(28, "disk full")])
def test_a_job_that_breaks_otherwise_does_not_stop_the_batch(tmp_path, error):
    def make(job):
        if job.name == "bad":
            raise error

    jobs = [Job(name="bad"), Job(name="good")]
    last = run_jobs(jobs, outputs=lambda job: [tmp_path / job.name], make=make)
    assert last.made == 1
    assert [failure.name for failure in last.failures] == ["bad"]

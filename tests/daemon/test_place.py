from __future__ import annotations

import json
import os
import resource
import socket
import threading
from pathlib import Path

import pytest

from extrecon.daemon.place import Place, find_place, take_lock
from extrecon.daemon.protocol import MOST_DESCRIPTORS, Channel
from extrecon.errors import DaemonError
from extrecon.system.processes import boot_id, start_time


def test_the_folder_is_the_sessions_or_in_tmp_and_never_under_tmpdir(tmp_path: Path) -> None:
    private = tmp_path / "session"
    private.mkdir(mode=0o700)
    assert find_place({"XDG_RUNTIME_DIR": str(private)}).folder == private / "extrecon"
    own = Path(f"/tmp/extrecon-{os.geteuid()}")
    assert find_place({"TMPDIR": str(tmp_path)}).folder == own
    assert find_place({"XDG_RUNTIME_DIR": str(tmp_path / "absent")}).folder == own
    assert find_place({"XDG_RUNTIME_DIR": str(private), "EXTRECON_RUNTIME_DIR": "/x"}).folder == Path("/x")


def test_each_device_set_has_its_own_daemon() -> None:
    names = {find_place({"CUDA_VISIBLE_DEVICES": devices}).socket.name for devices in ("0", "1", "0,1", "")}
    assert len(names | {find_place({}).socket.name}) == 5


@pytest.mark.parametrize("kind", ["file", "link", "open"])
def test_an_unsafe_folder_is_refused(kind: str, tmp_path: Path) -> None:
    folder = tmp_path / "rt"
    if kind == "file":
        folder.touch()
    elif kind == "link":
        (tmp_path / "target").mkdir(mode=0o700)
        folder.symlink_to(tmp_path / "target")
    else:
        folder.mkdir()
        folder.chmod(0o750)
    with pytest.raises(DaemonError, match=r"is not a folder|is open to others \(mode 750\)"):
        Place(folder, "x").prepare()


def test_a_lock_is_held_by_one_and_freed_by_closing(tmp_path: Path) -> None:
    path = tmp_path / "lock"
    held = take_lock(path)
    assert held is not None
    assert take_lock(path) is None
    os.close(held)
    again = take_lock(path)
    assert again is not None
    os.close(again)


def test_a_lock_whose_file_was_removed_holds_nobody_back(tmp_path: Path) -> None:
    path = tmp_path / "lock"
    held = take_lock(path)
    assert held is not None
    path.unlink()
    other = take_lock(path)
    assert other is not None
    assert take_lock(path) is None
    for descriptor in (held, other):
        os.close(descriptor)


@pytest.mark.parametrize("change", [{"boot": "another"}, {"start_time": 1}, {"pid": 2**22 + 1}, {"pid": "x"}, None])
def test_a_status_file_is_believed_only_about_its_very_process(change: dict[str, object], tmp_path: Path) -> None:
    place = Place(tmp_path, "x")
    assert place.owner() is None
    told = {"pid": os.getpid(), "start_time": start_time(os.getpid()), "boot": boot_id()}
    place.status.write_text(json.dumps(told))
    assert place.owner() == os.getpid()
    place.status.write_text("{" if change is None else json.dumps(told | change))
    assert place.owner() is None


def test_messages_arrive_whole_with_their_descriptors(tmp_path: Path) -> None:
    first, second = (Channel(end) for end in socket.socketpair())
    long = {"text": "ü" * 100_000}
    with (tmp_path / "file").open("w") as file:
        first.socket.settimeout(5)
        second.socket.settimeout(5)

        def send() -> None:
            first.send(long, [file.fileno()])
            first.send({"n": 2})

        sender = threading.Thread(target=send)
        sender.start()
        assert second.receive() == long
        (descriptor,) = second.take_descriptors(1)
        assert os.path.sameopenfile(descriptor, file.fileno())
        os.close(descriptor)
        assert second.receive() == {"n": 2}
        sender.join()
    first.close()
    assert second.receive() is None
    second.close()


def test_descriptors_stay_with_their_message_when_two_are_read_at_once(tmp_path: Path) -> None:
    first, second = (Channel(end) for end in socket.socketpair())
    paths = [tmp_path / name for name in ("a", "b", "c")]
    for index, path in enumerate(paths):
        with path.open("w") as file:
            first.send({"n": index, "text": "x" * 30_000}, [file.fileno()])
    found: list[Path] = []
    while len(found) < 3:
        messages, _ = second.available()
        for message in messages:
            assert message["n"] == len(found)
            (descriptor,) = second.take_descriptors(1)
            found.append(Path(f"/proc/self/fd/{descriptor}").readlink())
            os.close(descriptor)
    assert found == paths
    for end in (first, second):
        end.close()


def test_descriptors_that_did_not_fit_in_are_told_and_only_their_message_suffers(tmp_path: Path) -> None:
    first, second = (Channel(end) for end in socket.socketpair())
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    with (tmp_path / "file").open("w") as file:
        first.send({"n": 1}, [file.fileno()] * MOST_DESCRIPTORS)
        resource.setrlimit(resource.RLIMIT_NOFILE, (file.fileno() + 2, hard))
        try:
            assert second.receive() == {"n": 1}
        finally:
            resource.setrlimit(resource.RLIMIT_NOFILE, (soft, hard))
        with pytest.raises(ValueError, match="4 descriptors should have come along; are too many files open"):
            second.take_descriptors(MOST_DESCRIPTORS)
        first.send({"n": 2}, [file.fileno()] * MOST_DESCRIPTORS)
        assert second.receive() == {"n": 2}
        for descriptor in second.take_descriptors(MOST_DESCRIPTORS):
            os.close(descriptor)
    for end in (first, second):
        end.close()


def test_a_message_nested_too_deeply_is_no_message() -> None:
    first, second = (Channel(end) for end in socket.socketpair())
    first.socket.sendall(b"[" * 50_000 + b"]" * 50_000 + b"\n")
    with pytest.raises(ValueError, match="nested too deeply"):
        second.receive()
    for end in (first, second):
        end.close()

"""Exams on many machines: tasks of a dask scheduler that is running already.

The files are what counts: a worker looks for a finished result before it begins, as the command on
one machine does, so that an exam whose worker was killed is done again and a finished one never,
whichever part of the cluster is lost. The scheduler holds the tasks that workers need soon, not
those of the whole cohort.
"""

import logging
import socket
import threading
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, replace
from functools import lru_cache
from itertools import islice
from pathlib import Path
from typing import Any
from uuid import uuid4

from acdc_seg import __version__
from acdc_seg.data.exams import Exam
from acdc_seg.errors import AcdcError, ConfigError, DataError
from acdc_seg.files import write_text
from acdc_seg.inference.volumes import VolumePredictor
from acdc_seg.prediction.case import Outputs, describe_model
from acdc_seg.prediction.model import ModelSettings
from acdc_seg.prediction.run import CaseCallback, finish_case, write_failure, write_summary

CONNECT_S = 8.0
"""Seconds after which a scheduler that does not answer is an error."""
MIN_IN_FLIGHT = 16
"""Tasks that a scheduler is given at least, so that one that starts workers on demand sees some."""
PER_THREAD = 3
"""Tasks in flight for every thread of the workers: one runs, the next ones are there in time."""
LOST = (
    "the dask scheduler is gone; finished exams are kept, and the same command with a new one "
    "does the rest"
)
_loading = threading.Lock()


@dataclass(frozen=True)
class Job:
    """What a worker must know beside the exam.

    Attributes:
        model: Settings of the predictor.
        description: Of the model as the command loaded it, see `describe_model`.
        out: Folder of the output, absolute.
        token: Name of a file in it, by which a worker sees that it is the same folder.
        outputs: What else is written.
        version: Of acdc_seg in the command.
    """

    model: ModelSettings
    description: str
    out: Path
    token: str
    outputs: Outputs
    version: str = __version__


def predict_cohort(
    exams: Sequence[Exam],
    model: ModelSettings,
    out: Path,
    *,
    address: str,
    outputs: Outputs = Outputs(),  # noqa: B008 - frozen
    summary: bool = True,
    on_start: Callable[[int], None] = lambda num_workers: None,
    on_case: CaseCallback = lambda case, done, total: None,
) -> list[dict[str, Any]]:
    """`predict_exams` by the workers of a dask scheduler, which must see the same files.

    Args:
        exams: Those of `find_exams`, of absolute paths.
        model: Loaded once by every worker; here too, on the CPU, for its checksum.
        out: Folder, made where it is missing.
        address: Of the scheduler, such as tcp://HOST:8786, or its scheduler file.
        outputs: What else is written.
        summary: Write measurements.csv, measurements.json and report.html.
        on_start: Called with the number of workers, which may still be 0.
        on_case: Called after each exam, in the order in which they end.

    Returns:
        Results in the order of the exams.

    Raises:
        ConfigError: dask is not installed, no scheduler answers, it is lost, or a worker does not
            have the files, the model or the version of acdc_seg.
        DataError: A file cannot be written.
    """
    out = out.absolute()
    model = replace(model, path=model.path.absolute())
    here = replace(model, device="cpu", precision="fp32").load()
    job = Job(model, str(describe_model(here)), out, f".cohort-{uuid4().hex}", outputs)
    with _connect(address) as client:
        write_text(out / job.token, "A command hands out exams of this folder.\n")
        try:
            on_start(len(_threads(client)))
            cases = _hand_out(client, exams, job, on_case)
        finally:
            (out / job.token).unlink(missing_ok=True)
    if summary:
        write_summary(cases, out)
    return cases


def finish_task(exam: Exam, job: Job) -> dict[str, Any]:
    """The result of one exam, on a worker.

    Raises:
        ConfigError: This worker cannot do any of the exams.
        DataError: It does not see the files of the exam.
    """
    where = f"the worker on {socket.gethostname()}"
    if job.version != __version__:
        raise ConfigError(
            f"{where} has acdc_seg {__version__}, the command {job.version}; install one version "
            "on all machines"
        )
    if not (job.out / job.token).is_file():
        raise ConfigError(
            f"{where} does not see the files of the command in {job.out}; give a folder that all "
            "machines share"
        )
    if not exam.paths[0].exists():
        raise DataError(
            f"{where} has no {exam.paths[0]}; all machines must see the inputs at one path"
        )
    with _loading:  # threads of one worker share the model
        predictor = _load(job.model, job.description, where)
    return finish_case(exam, predictor, job.out, outputs=job.outputs)


@lru_cache(maxsize=1)
def _load(model: ModelSettings, description: str, where: str) -> VolumePredictor:
    """The model, kept by a worker from exam to exam."""
    predictor = model.load()
    if str(describe_model(predictor)) != description:
        raise ConfigError(
            f"{where} has another model in {model.path} than the command; give a path that all "
            "machines share"
        )
    return predictor


@contextmanager
def _connect(address: str) -> Iterator[Any]:
    """A client of the scheduler."""
    try:
        from distributed import Client
    except ImportError as error:
        raise ConfigError(
            f"--dask needs distributed, which is missing ({error}); install it: pip install "
            "'acdc_seg[dask]'"
        ) from None
    # what it would log, with tracebacks, of a lost scheduler is told in one message
    logging.getLogger("distributed.client").setLevel(logging.CRITICAL + 1)
    is_file = Path(address).is_file()
    place = {"scheduler_file": address} if is_file else {"address": address.strip() or "?"}
    try:
        client = Client(**place, timeout=CONNECT_S, set_as_default=False)
    except Exception as error:  # of the network, of the address, or of what answers there
        raise ConfigError(
            f"--dask {address}: no dask scheduler answers ({error}); start one with 'dask "
            "scheduler', and give the address that it prints, such as tcp://HOST:8786"
        ) from None
    with client:
        yield client


def _hand_out(
    client: Any, exams: Sequence[Exam], job: Job, on_case: CaseCallback
) -> list[dict[str, Any]]:
    """Keeps as many tasks in flight as the workers need, until all exams have a result."""
    from distributed import as_completed

    cases: dict[int, dict[str, Any]] = {}
    waiting = iter(enumerate(exams))
    in_flight: dict[str, int] = {}  # places of exams by the keys of their tasks
    finished = as_completed(loop=client.loop)

    def fill() -> None:
        # asked every time, for workers come and go
        num_threads = sum(_threads(client).values())
        room = max(MIN_IN_FLIGHT, PER_THREAD * num_threads) - len(in_flight)
        for place, exam in islice(waiting, max(0, room)):
            task = client.submit(finish_task, exam, job, key=f"{job.token}-{place}", pure=False)
            in_flight[task.key] = place
            finished.add(task)

    fill()
    for task in finished:
        place = in_flight.pop(task.key)
        cases[place] = _result(task, exams[place], job.out)
        task.release()
        on_case(cases[place], len(cases), len(exams))
        fill()
    return [cases[place] for place in sorted(cases)]


def _threads(client: Any) -> dict[str, int]:
    """Threads of every worker by its address."""
    try:
        return dict(client.nthreads())
    except OSError:
        raise ConfigError(LOST) from None


def _result(task: Any, exam: Exam, out: Path) -> dict[str, Any]:
    """What a worker gave back.

    Raises:
        ConfigError: The worker or the scheduler, not the exam, is at fault.
    """
    from concurrent.futures import CancelledError

    from distributed import KilledWorker

    try:
        return task.result()
    except KilledWorker:
        return write_failure(
            exam,
            "every worker that took this exam died, most often for lack of memory; see their logs; "
            "the same command tries it again",
            out,
        )
    except DataError as error:
        if not exam.paths[0].exists():
            return write_failure(exam, f"{exam.paths[0]}: the file is missing", out)
        raise ConfigError(str(error)) from None
    except AcdcError:
        raise
    except CancelledError:
        raise ConfigError(LOST) from None
    except Exception as error:  # the task could not be sent, or not be read by the worker
        raise ConfigError(
            f"{exam.id}: a worker cannot run this task ({type(error).__name__}: {error}); install "
            f"acdc_seg {__version__} on all machines"
        ) from None

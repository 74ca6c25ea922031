"""jobyard for Python: submit jobs to a broker, wait for them, and run them. README.md beside this package shows how."""

from jobyard.aio import AsyncClient, AsyncSubmission
from jobyard.client import Client, Submission
from jobyard.client_core import Ended
from jobyard.errors import (
    BadField,
    Busy,
    Closed,
    Conflict,
    DiskFull,
    Forked,
    JobCancelled,
    JobDead,
    JobFailed,
    JobRetired,
    JobyardError,
    NotDead,
    OutcomeUnknown,
    QueueFull,
    Refused,
    Retired,
    TimedOut,
    TooLarge,
    UnknownJob,
)
from jobyard.job_info import ArrayInfo, AttemptInfo, JobInfo
from jobyard.spec import Backoff, JobSpec
from jobyard.words import State
from jobyard.worker import Fail, Job, Release, Worker

__all__ = [
    "ArrayInfo",
    "AsyncClient",
    "AsyncSubmission",
    "AttemptInfo",
    "Backoff",
    "BadField",
    "Busy",
    "Client",
    "Closed",
    "Conflict",
    "DiskFull",
    "Ended",
    "Fail",
    "Forked",
    "Job",
    "JobCancelled",
    "JobDead",
    "JobFailed",
    "JobInfo",
    "JobRetired",
    "JobSpec",
    "JobyardError",
    "NotDead",
    "OutcomeUnknown",
    "QueueFull",
    "Refused",
    "Release",
    "Retired",
    "State",
    "Submission",
    "TimedOut",
    "TooLarge",
    "UnknownJob",
    "Worker",
]

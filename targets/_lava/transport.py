"""How Lava's processes exchange messages while a Program runs, and how a failure in one gets out.

Lava's compiler, runtime, runtime service, protocol and process models are used as they are; only what carries the
messages can be chosen:

threads    (default) every process model is a thread of the worker and a channel is a queue. No OS processes to leak, no
           shared memory to remove, start-up in milliseconds instead of half a second, and no semaphore a message.
processes  Lava's own: an OS process a model, shared memory and two threads a channel.

Either way an exception in a process model is handed to `Relay` with its traceback. Lava itself would log it at INFO and
let the neighbours wait for ever.
"""

from __future__ import annotations

import ctypes
import queue
import signal
import threading
import traceback
from collections.abc import Callable
from typing import Any

import numpy as np
from lava.magma.compiler.channels.interfaces import Channel, ChannelType
from lava.magma.compiler.channels.pypychannel import CspRecvPort, CspSendPort
from lava.magma.runtime import runtime as lava_runtime
from lava.magma.runtime.message_infrastructure.factory import MessageInfrastructureFactory
from lava.magma.runtime.message_infrastructure.message_infrastructure_interface import MessageInfrastructureInterface
from lava.magma.runtime.message_infrastructure.multiprocessing import MultiProcessing

Relay = Callable[[str], None]
"""Called with the traceback of the first failure; does not return."""
Announce = Callable[[str], None]
"""Called with the path of every shared memory segment, so that whoever survives the worker can remove it."""

_PR_SET_PDEATHSIG = 1


def _relayed(target: Callable[..., None], relay: Relay, *, own_process: bool) -> Callable[..., None]:
    def run(*arguments: Any, **named: Any) -> None:
        if own_process:
            # an orphaned model would wait for messages for ever
            ctypes.CDLL(None).prctl(_PR_SET_PDEATHSIG, signal.SIGKILL)
        try:
            target(*arguments, **named)
        except BaseException:
            relay(traceback.format_exc())

    return run


class _Post:
    """A queue whose first item can be looked at."""

    def __init__(self) -> None:
        self._items: queue.SimpleQueue[Any] = queue.SimpleQueue()
        self._seen: list[Any] = []

    def put(self, item: Any) -> None:
        self._items.put(item)

    def get(self) -> Any:
        return self._seen.pop() if self._seen else self._items.get()

    def peek(self) -> Any:
        if not self._seen:
            self._seen.append(self._items.get())
        return self._seen[0]

    def __bool__(self) -> bool:
        return bool(self._seen) or not self._items.empty()


class ThreadSendPort(CspSendPort):  # type: ignore[misc]
    """The sending end of a channel between threads."""

    def __init__(self, name: str, shape: Any, dtype: Any, size: int, receiver: ThreadRecvPort) -> None:
        self._name, self._shape, self._dtype, self._size = name, shape, dtype, size
        self._receiver = receiver
        self.observer = None

    def start(self) -> None:
        """Nothing to start."""

    def probe(self) -> bool:
        return True

    def send(self, data: Any) -> None:
        """A copy of the data in the channel's type, as Lava's shared memory would hold it."""
        if data.shape != self._shape:
            raise ValueError(f"channel '{self._name}' of shape {self._shape} was given {data.shape}")
        message = np.empty(self._shape, self._dtype)
        message[:] = data
        self._receiver.deliver(message)

    def join(self) -> None:
        """Nothing to join."""


class ThreadRecvPort(CspRecvPort):  # type: ignore[misc]
    """The receiving end."""

    def __init__(self, name: str, shape: Any, dtype: Any, size: int) -> None:
        self._name, self._shape, self._dtype, self._size = name, shape, dtype, size
        self._post = _Post()
        self.observer = None

    def start(self) -> None:
        """Nothing to start."""

    def deliver(self, message: Any) -> None:
        self._post.put(message)
        observer = self.observer
        if observer is not None:
            observer()

    def probe(self) -> bool:
        return bool(self._post)

    def peek(self) -> Any:
        return self._post.peek()

    def recv(self) -> Any:
        return self._post.get()

    def join(self) -> None:
        """Nothing to join."""


class ThreadChannel(Channel):  # type: ignore[misc]
    """Stands for Lava's PyPyChannel; the arguments are its."""

    def __init__(
        self, _infrastructure: Any, src_name: str, dst_name: str, shape: Any, dtype: Any, size: int, *_watchdogs: Any
    ) -> None:
        self._recv = ThreadRecvPort(dst_name, shape, dtype, size)
        self._send = ThreadSendPort(src_name, shape, dtype, size, self._recv)

    @property
    def src_port(self) -> ThreadSendPort:
        return self._send

    @property
    def dst_port(self) -> ThreadRecvPort:
        return self._recv


class Actor(threading.Thread):
    """A process model or runtime service as a thread. A failure in it ends the worker, so it never has one to show."""

    exception = None


class Threads(MessageInfrastructureInterface):  # type: ignore[misc]
    """Actors are threads."""

    def __init__(self, relay: Relay) -> None:
        self._relay = relay
        self._actors: list[Actor] = []

    @property
    def actors(self) -> list[Actor]:
        return self._actors

    def start(self) -> None:
        """Nothing to start."""

    def build_actor(self, target_fn: Any, builder: Any, exception_q: Any = None) -> Actor:
        run = _relayed(target_fn, self._relay, own_process=False)
        actor = Actor(target=run, kwargs={"builder": builder, "exception_q": exception_q}, daemon=True)
        actor.start()
        self._actors.append(actor)
        return actor

    def stop(self) -> None:
        for actor in self._actors:
            actor.join()

    def channel_class(self, channel_type: Any) -> type[ThreadChannel]:
        if channel_type is not ChannelType.PyPy:
            raise NotImplementedError(f"channel {channel_type} between threads")
        return ThreadChannel


class Processes(MultiProcessing):  # type: ignore[misc]
    """Lava's own, with failures relayed and shared memory announced."""

    def __init__(self, relay: Relay, announce: Announce) -> None:
        super().__init__()
        self._relay = relay
        self._announce = announce

    def start(self) -> None:
        super().start()
        create = self._smm.create_shared_memory

        def announced(size: int) -> Any:
            segment = create(size)
            self._announce(f"/dev/shm/{segment.name}")
            return segment

        self._smm.create_shared_memory = announced

    def build_actor(self, target_fn: Any, builder: Any, exception_q: Any = None) -> Any:
        return super().build_actor(_relayed(target_fn, self._relay, own_process=True), builder, exception_q)


def install(kind: str, relay: Relay, announce: Announce) -> None:
    """Make Lava's runtime use "threads" or "processes" from now on."""
    if kind == "threads":
        # one to hear from each actor: a queue between processes costs two pipes and a thread
        lava_runtime.Queue = queue.SimpleQueue
        MessageInfrastructureFactory.create = staticmethod(lambda _type: Threads(relay))
    elif kind == "processes":
        MessageInfrastructureFactory.create = staticmethod(lambda _type: Processes(relay, announce))
    else:
        raise ValueError(f"no transport '{kind}'")

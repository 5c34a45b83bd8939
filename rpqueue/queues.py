"""Queues: an App's verbs about whole queues. How long they are, which goes first, what is in them; emptying them."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable, Sequence
from typing import TYPE_CHECKING, Any

from . import messages
from .errors import RefusedInput, Undecodable, WrongType
from .hiding import redacted
from .keys import QueueKeys, name_text, text_of
from .protocol import data, moves, views
from .protocol.moves import Whereabouts
from .protocol.operation import Flow, Operation, as_is, command
from .protocol.views import Buried
from .signing import Signer
from .states import State
from .system import System

if TYPE_CHECKING:
    from redis import Redis

#: Most rows that one call returns.
MOST_ROWS = 1000
#: Stands for the name of a task in rows about bytes that cannot be read.
UNDECODABLE = "<undecodable>"


class Queues(System):
    """An App's verbs about whole queues."""

    # Which queues there are.

    def set_priority(self, queue: str | bytes, qpri: float | None, conn: Redis | None = None) -> None:
        """
        Say when workers turn to a queue, in strict order: nothing is taken from a queue while one before it has work.

        Args:
            queue: name of a task queue; it need not exist yet.
            qpri: lower goes first, and any number before none. None removes the queue's priority.
            conn: another client to use.
        """
        self.broker_for(conn).run(self.setting_priority(queue, qpri))

    def setting_priority(self, queue: str | bytes, qpri: float | None) -> Flow[None]:
        """What `set_priority` says to Redis."""
        keys = self.task_keys(queue)
        if keys.name == self.settings.deadletter_queue:
            raise RefusedInput(f"queue: {keys.name!r} is the dead-letter view, which no worker reads")
        if qpri is None:
            priority = math.inf
        elif isinstance(qpri, bool) or not isinstance(qpri, (int, float)):
            raise WrongType(f"priority of {keys.name}: expected a number or None, got {qpri!r}")
        elif not math.isfinite(qpri) or abs(qpri) > 2**53:
            raise RefusedInput(f"priority of {keys.name}: expected a number between -2**53 and 2**53, got {qpri!r}")
        else:
            priority = float(qpri)
        yield from views.set_priority(self.keys.app, keys.name, priority)

    def known_queues(self, conn: Redis | None = None) -> list[str]:
        """The task queues, first those with a priority, lowest number first, then the others by name."""
        return self.broker_for(conn).execute(self.task_queues())

    def task_queues(self) -> Operation[list[str]]:
        """What `known_queues` says to Redis."""
        return command(_texts, "ZRANGE", self.keys.app.queues, 0, -1)

    def data_queues(self) -> Operation[list[str]]:
        """Asks for the names of all data queues."""
        return command(_texts, "ZRANGE", self.keys.app.data_queues, 0, -1)

    def queues_of(self, is_data: bool) -> Flow[list[QueueKeys]]:
        """The keys of all queues of one kind."""
        names = yield from self.data_queues() if is_data else self.task_queues()
        return [self.keys.data(name) if is_data else self.keys.tasks(name) for name in names]

    def queue_sizes(self, conn: Redis | None = None) -> list[tuple[str, int, int]]:
        """
        How long the task queues are.

        Returns:
            ``(queue, size, seen)`` for each, in the order of `known_queues`. The size counts what waits: ready,
            scheduled and parked messages. Seen are all messages that were ever put in.
        """
        return self.broker_for(conn).run(self.sizing())

    def sizing(self) -> Flow[list[tuple[str, int, int]]]:
        """What `queue_sizes` says to Redis."""
        queues = yield from self.queues_of(is_data=False)
        sizes = yield from views.sizing(queues, self.queues_per_call)
        return [
            (keys.name, size.ready + size.scheduled + size.parked, size.seen)
            for keys, size in zip(queues, sizes, strict=True)
        ]

    @property
    def queues_per_call(self) -> int:
        """Queues that one script may be asked about."""
        return 1 if self.broker.is_cluster else views.CHUNK

    # Emptying them.

    def clear_queue(
        self, queue: str | bytes, conn: Redis | None = None, delete: bool = False, is_data: bool = False
    ) -> int:
        """
        Delete the messages of a queue; those that are running, too, so that nothing comes of their end.

        What was buried stays: dead, lost and failed messages. Of DEADLETTER_QUEUE, all dead messages of all queues are
        deleted, and nothing else. Redis serves others in between, however long the queue is.

        Args:
            queue: its name.
            conn: another client to use.
            delete: whether to forget the queue, too: its priority, its counters, its schedules and what was buried.
            is_data: whether it is a data queue.

        Returns:
            How many messages were deleted, not counting buried ones that went with a forgotten queue.
        """
        return self.broker_for(conn).run(self.clearing(queue, delete=delete, is_data=is_data))

    def clearing(self, queue: str | bytes, *, delete: bool = False, is_data: bool = False) -> Flow[int]:
        """What `clear_queue` says to Redis."""
        name = name_text(queue, "queue")
        if name == self.settings.deadletter_queue:
            return (yield from self.purging(State.DEAD, is_data=is_data))
        keys = self.data_keys(name) if is_data else self.task_keys(name)
        index = self.data_index if is_data else self.index
        deleted: int = yield from views.clearing(keys, index, forget=delete)
        if delete and not index and not is_data:
            # On Cluster it stays listed. A script cannot unlist it in the moment in which it is empty, and a queue that
            # gets a message in between would never be found again.
            yield from command(as_is, "ZADD", keys.listed_in, "XX", "inf", name)
        return deleted

    def purging(self, grave: State, *, is_data: bool = False, queue: str | None = None) -> Flow[int]:
        """Delete what was buried in *grave*, of one queue or of all of a kind; returns how many."""
        if queue is None:
            queues = yield from self.queues_of(is_data)
        else:
            queues = [self.data_keys(queue) if is_data else self.task_keys(queue)]
        return (yield from views.purging(queues, grave, chunk=self.queues_per_call))

    def delete_item(self, queue: str | bytes, taskid: str, conn: Redis | None = None) -> bool | int:
        """
        Remove one message that has not started: what `EnqueuedTask.cancel` does.

        Args:
            queue: its queue; DEADLETTER_QUEUE deletes a dead message, whichever queue it was in.
            taskid: its id.
            conn: another client to use.

        Returns:
            True: it is gone. False: it is running, over, or unknown. -1: it had ended, and its saved result is deleted.
        """
        return self.broker_for(conn).run(self.deleting(queue, taskid))

    def deleting(self, queue: str | bytes, taskid: str) -> Flow[bool | int]:
        """What `delete_item` says to Redis."""
        message_id = name_text(taskid, "taskid")
        keys = self.task_keys(queue)
        if keys.name != self.settings.deadletter_queue:
            answer: int = yield from moves.cancel(keys, message_id, self.settings.remember_cancelled)
            return answer if answer == -1 else bool(answer)
        queues = yield from self.queues_of(is_data=False)
        sizes = yield from views.sizing(queues, self.queues_per_call)
        for keys, size in zip(queues, sizes, strict=True):
            if size.dead and (yield from views.purge(keys, State.DEAD, [message_id])):
                return True
        return False

    # Looking into them.

    def get_page(self, queue: str | bytes, page: int, per_page: int = 50, conn: Redis | None = None) -> list[list[Any]]:
        """
        What waits in a task queue, in the order in which it will start: ready messages, then scheduled ones.

        Args:
            queue: its name; DEADLETTER_QUEUE shows the dead messages of all queues, oldest death first.
            page: 1 is the first page; 0 is it, too.
            per_page: rows of a page, 1 to 1,000.
            conn: another client to use.

        Returns:
            ``[taskid, name, args, kwargs, scheduled time]`` for each, the last in epoch seconds. Bytes that are no call
            of a task have the name ``<undecodable>``, and as their only argument the bytes as text.
        """
        return self.broker_for(conn).run(self.paging(queue, page, per_page))

    def paging(self, queue: str | bytes, page: int, per_page: int = 50) -> Flow[list[list[Any]]]:
        """What `get_page` says to Redis."""
        keys = self.task_keys(queue)
        limit = row_count(per_page, "per_page")
        skip = max(row_count(page, "page", least=0, most=2**40) - 1, 0) * limit
        if keys.name == self.settings.deadletter_queue:
            queues = yield from self.queues_of(is_data=False)
            buried = yield from views.reading_buried(queues, State.DEAD, limit, skip=skip, chunk=self.queues_per_call)
            return (yield from redacted(self, [task_row(one.queue, one.where, self.signer) for one in buried]))
        found = yield from views.page(keys, (State.READY, State.SCHEDULED), limit, skip=skip, records=0)
        return (yield from redacted(self, [task_row(keys, where, self.signer) for where in found.rows]))

    def read_deadletter(
        self, conn: Redis | None = None, delete: bool = False, limit: int = 100, is_data: bool = False
    ) -> list[list[Any]]:
        """
        The dead messages of all queues, oldest death first.

        Args:
            conn: another client to use.
            delete: whether to delete exactly what is returned; each message goes to one such reader only, who gets to
                see what `task` was told to redact, too.
            limit: most rows, 1 to 1,000.
            is_data: whether to read the dead items of data queues instead of dead tasks.

        Returns:
            ``[taskid, name, args, kwargs, scheduled time]`` for a task; ``[id, '', item, extra fields, insert time]``
            for an item. ``Data(DEADLETTER_QUEUE)`` has the same rows.
        """
        return self.broker_for(conn).run(self.reading_deadletter(delete=delete, limit=limit, is_data=is_data))

    def reading_deadletter(
        self, *, delete: bool = False, limit: int = 100, is_data: bool = False
    ) -> Flow[list[list[Any]]]:
        """What `read_deadletter` says to Redis."""
        letters = yield from self.dead_letters(delete=delete, limit=limit, is_data=is_data)
        rows = deadletter_rows(letters, self.signer, is_data)
        return rows if delete or is_data else (yield from redacted(self, rows))

    def dead_letters(self, *, delete: bool = False, limit: int = 100, is_data: bool = False) -> Flow[list[Buried]]:
        """The messages that `read_deadletter` makes its rows of."""
        wanted = row_count(limit, "limit")
        queues = yield from self.queues_of(is_data)
        get = views.taking_buried if delete else views.reading_buried
        letters: list[Buried] = yield from get(queues, State.DEAD, wanted, chunk=self.queues_per_call)
        return letters

    # Scripts of the user's own.

    def script_load(self, script: str) -> Callable[..., Any]:
        """
        Make a Lua script callable: ``call(conn, keys=[], args=[], force_eval=False)``.

        The call sends the script's SHA-1, and the script itself only when Redis does not have it yet. *conn* None uses
        this App's client. In a pipeline, which learns too late that Redis has it not, say ``force_eval=True``.
        """
        if not isinstance(script, str):
            raise WrongType(f"script: expected Lua as str, got {script!r}")
        return LoadedScript(self, script)


class LoadedScript:
    """A user's Lua script. See `Queues.script_load`."""

    def __init__(self, system: System, script: str) -> None:
        import hashlib

        self._system = system
        self.script = script
        self.sha = hashlib.sha1(script.encode()).hexdigest()  # Redis names scripts by SHA-1

    def __call__(
        self,
        conn: Redis | None = None,
        keys: Sequence[Any] = (),
        args: Sequence[Any] = (),
        force_eval: bool = False,
    ) -> Any:
        """Run it and return the reply as the client gives it."""
        client = self._system.get_connection() if conn is None else conn
        words = (len(keys), *keys, *args)
        if not force_eval:
            try:
                return client.execute_command("EVALSHA", self.sha, *words)
            except Exception as error:
                if "NOSCRIPT" not in str(error) and type(error).__name__ != "NoScriptError":
                    raise
        return client.execute_command("EVAL", self.script, *words)


def deadletter_rows(letters: Iterable[Buried], signer: Signer, is_data: bool) -> list[list[Any]]:
    """The rows of `read_deadletter`."""
    row = data.dead_item_row if is_data else data.dead_task_row
    return [row(letter, signer) for letter in letters]


def task_row(keys: QueueKeys, where: Whereabouts, signer: Signer) -> list[Any]:
    """``[taskid, name, args, kwargs, scheduled time]`` of a task's message, whatever its bytes are."""
    try:
        available_at = messages.parse_header(where.message.partition(b"|")[0])[0]
        body = signer.body_of(keys.stem, where.id.encode(), where.message)
        name, args, kwargs = messages.decode_task(body)
    except Undecodable:
        return [where.id, UNDECODABLE, [where.message.decode("utf-8", "backslashreplace")], {}, 0.0]
    return [where.id, name, args, kwargs, available_at]


def row_count(value: Any, what: str, *, least: int = 1, most: int = MOST_ROWS) -> int:
    """*value* as a whole number from *least* to *most*."""
    if isinstance(value, bool) or not isinstance(value, int):
        raise WrongType(f"{what}: expected a whole number, got {value!r}")
    if not least <= value <= most:
        raise RefusedInput(f"{what}: expected {least} to {most}, got {value!r}")
    return value


def _texts(reply: list[bytes]) -> list[str]:
    return [text_of(text) for text in reply]

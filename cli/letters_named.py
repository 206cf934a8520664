"""Send dead letters round again that are named, or discard them: each by itself."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from cli.as_json import print_json, without
from cli.changes import Asked
from cli.door import Door
from cli.errors import DONE, exit_code_of, facts_of, report
from cli.telling import tell_and_watch
from factory_runtime.domain.dead_letter import MAY_GO_ROUND, DeadLetter
from factory_runtime.domain.errors import FactoryError, InputError, NotFoundError
from factory_runtime.domain.run import Run


def refuse_words_of_chosen(given: Mapping[str, bool]) -> None:
    """Options that make no sense beside names.

    Raises:
        InputError: one of them was given.
    """
    for name, is_given in given.items():
        if is_given:
            raise InputError(
                f"{name} is for letters that are chosen", hint="add --fingerprint or --where"
            )


def retry_each(door: Door, letter_ids: Sequence[str], asked: Asked, *, watch: bool) -> int:
    """Send these round again; the exit code is that of the worst.

    A run goes round once, with all of its letters that are named and may go.
    """
    first, beside = dict[str, str](), dict[str, set[str]]()
    for letter_id in dict.fromkeys(letter_ids):
        with door.desk.reading() as tx:
            try:
                letter = tx.get_dead_letter(letter_id)
            except NotFoundError:
                letter = None
        if letter is None or letter.status not in MAY_GO_ROUND:
            first[letter_id] = letter_id  # told of with the others
        else:
            leader = first.setdefault(letter.run_id, letter_id)
            beside.setdefault(leader, set()).add(letter.step)

    def act(letter_id: str) -> Run:
        with door.desk.reading() as tx:
            run_id = tx.get_dead_letter(letter_id).run_id
        change = asked.of_run(door, run_id)
        steps = beside.get(letter_id, set())
        return door.desk.redrive(letter_id, change, steps)

    return tell_and_watch(door, first.values(), act, watch=watch)


def discard_each(door: Door, letter_ids: Sequence[str], reason: str, *, undo: bool) -> int:
    """Close these; the exit code is that of the worst."""
    done, errors = list[DeadLetter](), dict[str, FactoryError]()
    for letter_id in dict.fromkeys(letter_ids):
        try:
            letter = door.desk.discard(letter_id, reason, undo=undo)
        except FactoryError as error:
            errors[letter_id] = error
            continue
        done.append(letter)
    if door.json:
        rows = [without(letter, "with_", "traceback") for letter in done]
        refused = {letter_id: facts_of(error) for letter_id, error in errors.items()}
        print_json({"discarded": rows, "refused": refused})
    for letter in done if not door.json else ():
        door.screen.line(f"{letter.id}  {letter.status}")
    door.screen.flush()
    for error in errors.values():
        report(error, as_json=door.json)
    return max(map(exit_code_of, errors.values()), default=DONE)

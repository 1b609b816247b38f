"""Sentences in English, Spanish and German that say the same: a small grammar of our own, so translations are known."""

from __future__ import annotations

import zlib
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

LANGUAGES = ("en", "es", "de")

# English, Spanish with its article, German with its article in the nominative.
_PEOPLE = (
    ("doctor", "el médico", "der Arzt"), ("teacher", "la maestra", "die Lehrerin"), ("girl", "la niña", "das Mädchen"),
    ("boy", "el niño", "der Junge"), ("farmer", "el granjero", "der Bauer"), ("queen", "la reina", "die Königin"),
    ("king", "el rey", "der König"), ("cook", "el cocinero", "der Koch"), ("baker", "la panadera", "die Bäckerin"),
    ("driver", "el conductor", "der Fahrer"), ("neighbour", "la vecina", "die Nachbarin"),
    ("painter", "el pintor", "der Maler"),
)  # fmt: skip
_VERBS = (
    ("buys", "compra", "kauft"), ("sells", "vende", "verkauft"), ("finds", "encuentra", "findet"),
    ("sees", "ve", "sieht"), ("needs", "necesita", "braucht"), ("brings", "trae", "bringt"),
    ("loses", "pierde", "verliert"), ("paints", "pinta", "malt"), ("wants", "quiere", "möchte"),
)  # fmt: skip


@dataclass(frozen=True)
class _Thing:
    """One and many of it; German in the nominative, the accusative and the plural."""

    en: tuple[str, str]
    es: tuple[str, str]
    de: tuple[str, str, str]


_THINGS = (
    _Thing(("key", "keys"), ("la llave", "llaves"), ("der Schlüssel", "den Schlüssel", "Schlüssel")),
    _Thing(("book", "books"), ("el libro", "libros"), ("das Buch", "das Buch", "Bücher")),
    _Thing(("lamp", "lamps"), ("la lámpara", "lámparas"), ("die Lampe", "die Lampe", "Lampen")),
    _Thing(("chair", "chairs"), ("la silla", "sillas"), ("der Stuhl", "den Stuhl", "Stühle")),
    _Thing(("table", "tables"), ("la mesa", "mesas"), ("der Tisch", "den Tisch", "Tische")),
    _Thing(("boat", "boats"), ("el barco", "barcos"), ("das Boot", "das Boot", "Boote")),
    _Thing(("bicycle", "bicycles"), ("la bicicleta", "bicicletas"), ("das Fahrrad", "das Fahrrad", "Fahrräder")),
    _Thing(("letter", "letters"), ("la carta", "cartas"), ("der Brief", "den Brief", "Briefe")),
    _Thing(("apple", "apples"), ("la manzana", "manzanas"), ("der Apfel", "den Apfel", "Äpfel")),
    _Thing(("flower", "flowers"), ("la flor", "flores"), ("die Blume", "die Blume", "Blumen")),
    _Thing(("hat", "hats"), ("el sombrero", "sombreros"), ("der Hut", "den Hut", "Hüte")),
    _Thing(("picture", "pictures"), ("el cuadro", "cuadros"), ("das Bild", "das Bild", "Bilder")),
    _Thing(("clock", "clocks"), ("el reloj", "relojes"), ("die Uhr", "die Uhr", "Uhren")),
    _Thing(("bag", "bags"), ("la bolsa", "bolsas"), ("die Tasche", "die Tasche", "Taschen")),
)
_PLACES = (
    ("in the garden", "en el jardín", "im Garten"), ("at the station", "en la estación", "am Bahnhof"),
    ("in the kitchen", "en la cocina", "in der Küche"), ("near the river", "cerca del río", "in der Nähe des Flusses"),
    ("on the island", "en la isla", "auf der Insel"), ("in the city", "en la ciudad", "in der Stadt"),
    ("behind the house", "detrás de la casa", "hinter dem Haus"), ("at the market", "en el mercado", "auf dem Markt"),
)  # fmt: skip
_TIMES = (
    ("today", "hoy", "heute"), ("tomorrow", "mañana", "morgen"), ("on Monday", "el lunes", "am Montag"),
    ("on Friday", "el viernes", "am Freitag"), ("in winter", "en invierno", "im Winter"),
    ("at night", "de noche", "in der Nacht"), ("every day", "todos los días", "jeden Tag"), ("now", "ahora", "jetzt"),
)  # fmt: skip
_NUMBERS = (
    ("two", "dos", "zwei"), ("three", "tres", "drei"), ("four", "cuatro", "vier"), ("five", "cinco", "fünf"),
    ("six", "seis", "sechs"), ("seven", "siete", "sieben"), ("eight", "ocho", "acht"), ("nine", "nueve", "neun"),
    ("ten", "diez", "zehn"),
)  # fmt: skip

#: Of so many sentences one is kept for scoring.
_HELD_OUT = 10


def sentence(rng: np.random.Generator, *, held_out: bool) -> dict[str, str]:
    """The same sentence in each language; `held_out` ones are never among the others."""
    while True:
        found = dict(zip(LANGUAGES, _drawn(rng), strict=True))
        if (zlib.crc32(found["en"].encode()) % _HELD_OUT == 0) == held_out:
            return {language: text[0].upper() + text[1:] for language, text in found.items()}


def _drawn(rng: np.random.Generator) -> tuple[str, str, str]:
    def pick(kind: Sequence[tuple[str, str, str]]) -> tuple[str, str, str]:
        return kind[int(rng.integers(len(kind)))]

    thing = _THINGS[int(rng.integers(len(_THINGS)))]
    person, verb, place, time, number = map(pick, (_PEOPLE, _VERBS, _PLACES, _TIMES, _NUMBERS))
    many = tuple(f"{count} {name}" for count, name in zip(number, (thing.en[1], thing.es[1], thing.de[2]), strict=True))
    one = (f"the {thing.en[0]}", thing.es[0], thing.de[1])
    what = one if rng.random() < 0.6 else many
    form = rng.random()
    if form < 0.1:
        return f"where is the {thing.en[0]}?", f"¿dónde está {thing.es[0]}?", f"wo ist {thing.de[0]}?"
    if form < 0.25:
        return (
            f"I have {many[0]} {place[0]}.",
            f"tengo {many[1]} {place[1]}.",
            f"ich habe {many[2]} {place[2]}.",
        )
    if form < 0.45:
        return (
            f"{time[0]} the {person[0]} {verb[0]} {what[0]}.",
            f"{time[1]} {person[1]} {verb[1]} {what[1]}.",
            f"{time[2]} {verb[2]} {person[2]} {what[2]}.",
        )
    where = place if form < 0.75 else ("", "", "")
    return (
        f"{f'the {person[0]} {verb[0]} {what[0]} {where[0]}'.strip()}.",
        f"{f'{person[1]} {verb[1]} {what[1]} {where[1]}'.strip()}.",
        f"{f'{person[2]} {verb[2]} {what[2]} {where[2]}'.strip()}.",
    )

"""One talk as the styles lay it out, spoken calmly and in a hurry: what is chosen where the rules leave a choice."""

from __future__ import annotations

import pytest
from timed_text import timed, transcript

from mtasr.subtitles import STYLES, lay_out
from mtasr.transcript import Transcript

#: `|0.4` is a pause of so many seconds.
TALK = """\
Good morning, everybody, and thank you for coming to talk with us about the river today. |1.2 Dr. Marsh found the old
boat in May, when the water was low; she had been looking for it since the spring of last year. |0.4 Could you tell us
how you found it? |0.3 Well, I was walking the dog. |0.9 It was early. |0.2 He ran ahead, as he always does, and
barked at something in the reeds: |0.7 a plank, black and half rotten, with an iron nail in it. |3.0 And then? |0.1
Then I called the museum. |0.25 They came the same day with a van, two students and a very long rope, which broke.
|0.6 Nobody |0.8 believed it. |0.1 "It is a boat," said the older one – "and it is older than the bridge, the mill and
the church together." |1.0 Incomprehensibilities notwithstanding, internationalization departments underestimated |0.0
counterrevolutionaries.
"""

WEB = """\
320 1233 Good morning,
1317 6584 everybody, and thank you for coming / to talk with us about the river today.
7854 12109 Dr. Marsh found the old boat in May, / when the water was low;
12193 16706 she had been looking for it since / the spring of last year.
16790 21643 Could you tell us how you found it? / Well, I was walking the dog.
22613 23725 It was early.
23809 28790 He ran ahead, as he always does, / and barked at something in the reeds:
29560 33544 a plank, black and half rotten, / with an iron nail in it.
36614 39442 And then? Then I called the museum.
39526 44420 They came the same day with a van, / two students and a very long rope,
44504 45360 which broke.
46030 50900 Nobody believed it. / "It is a boat," said the older one –
50984 55824 "and it is older than the bridge, / the mill and the church together."
56894 59593 Incomprehensibilities notwithstanding,
59677 64744 internationalization departments / underestimated counterrevolutionaries.
"""

SOCIAL = """\
320 1005 Good morning,
1005 2034 everybody, and thank
2034 2950 you for coming to
2950 3912 talk with us about
3912 4688 the river today.
5958 6965 Dr. Marsh found the
6965 7836 old boat in May,
7836 8592 when the water
8592 9050 was low;
9050 10103 she had been looking
10103 10974 for it since the
10974 12426 spring of last year.
12426 13343 Could you tell us
13343 14559 how you found it?
14559 15566 Well, I was walking
15566 15955 the dog.
16925 17835 It was early.
17835 18545 He ran ahead,
18545 19506 as he always does,
19506 20055 and barked
20055 20695 at something
20695 21335 in the reeds:
22105 22564 a plank,
22564 23319 black and half
23319 24372 rotten, with an iron
24372 24921 nail in it.
27991 28846 And then? Then
28846 30149 I called the museum.
30149 31111 They came the same
31111 31936 day with a van,
31936 32783 two students and
32783 33699 a very long rope,
33699 34269 which broke.
34939 36822 Nobody believed it.
36822 37647 "It is a boat,"
37647 38725 said the older one –
38725 39595 "and it is older
39595 40442 than the bridge,
40442 41313 the mill and the
41313 42110 church together."
43180 44205 Incomprehensibilities
44205 45002 notwithstanding,
45002 45981 internationalization
45981 46551 departments
46551 47257 underestimated
47257 48303 counterrevolutionaries.
"""

HURRIED = """\
Good morning, everybody,
and thank you for coming to talk / with us about the river today.
Dr. Marsh found the old boat in May, / when the water was low;
she had been looking for it since / the spring of last year.
Could you tell us how you found it? / Well, I was walking the dog.
It was early. / He ran ahead, as he always does,
and barked at something in the reeds:
a plank, black and half rotten, / with an iron nail in it.
And then? Then I called the museum.
They came the same day with a van, / two students and a very long rope,
which broke.
Nobody believed it.
"It is a boat," said the older one – / "and it is older than the bridge,
the mill and the church together." / Incomprehensibilities notwithstanding,
internationalization departments / underestimated counterrevolutionaries.
"""

BROADCAST = """\
Good morning, everybody,
and thank you for coming to talk / with us about the river today.
Dr. Marsh found the old boat in May, when / the water was low; she had been looking
for it since the spring of last year.
Could you tell us how you found it? / Well, I was walking the dog. It was early.
He ran ahead, as he always does, / and barked at something in the reeds:
a plank, black and half rotten, / with an iron nail in it.
And then? Then I called the museum. / They came the same day with a van,
two students and a very long rope, / which broke.
Nobody believed it. "It is a boat," said / the older one – "and it is older than the
bridge, the mill and the church together." / Incomprehensibilities notwithstanding,
internationalization departments / underestimated counterrevolutionaries.
"""


def said(letters_a_second: float) -> Transcript:
    clock, words = 0.32, []
    for part in TALK.split():
        if part.startswith("|"):
            clock += float(part[1:])
        else:
            end = clock + len(part) / letters_a_second
            words.append((part, round(clock, 3), round(end, 3)))
            clock = end + 0.07
    return transcript(timed(*words), duration=round(clock + 0.4, 3))


@pytest.mark.parametrize(
    ("style", "letters_a_second", "expected", "broken"),
    [
        ("web", 14, WEB, {}),
        ("web", 22, HURRIED, {"reading speed": [0]}),
        ("broadcast", 22, BROADCAST, {"reading speed": [0, 2, 7, 11]}),
        ("social", 22, SOCIAL, {"line width": [40, 45], "single word": [40, 41, 42, 43, 44, 45]}),
    ],
)
def test_a_talk(style: str, letters_a_second: float, expected: str, broken: dict[str, list[int]]) -> None:
    layout = STYLES[style]
    assert layout is not None
    laid = lay_out(said(letters_a_second), layout)
    times = expected[0].isdigit()
    found = [
        (f"{round(cue.start * 1000)} {round(cue.end * 1000)} " if times else "") + cue.text.replace("\n", " / ")
        for cue in laid.transcript
    ]
    assert found == expected.splitlines()
    assert {rule: [each.cue for each in laid.broken if each.rule == rule] for rule in broken} == broken
    assert len(laid.broken) == sum(map(len, broken.values()))

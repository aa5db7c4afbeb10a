r"""Whether a wrong answer is ever paid: generated wrong answers around right ones of every type, in every notation.

    python tests/benchmarks/false_pay.py [--count 2000] [--seed 0]

Each wrong answer is made from the right value by a mutation: another digit, sign, power, unit, bracket, variable, order
or label, a part left out or added, a second answer, a hedge. That it is wrong is known without the code under test: by
fractions, by the coefficients of a line, by values of a polynomial at random points, by the corners of boxes, or as it
holds two answers. What the rules let pass (currreft_nb/tasks/math_equality.py) is not generated: a unit left out, a
percent sign left out, a number that rounds to a decimal of six digits. Prints the answers tried and paid by type, and
each paid one. Exit status 1 where any is paid, or a label list earns another share than the overlap of the sets.
"""

import argparse
import random
import sys
from collections import Counter
from collections.abc import Callable, Iterator
from fractions import Fraction
from itertools import product

from currreft_nb.core.samples import Sample
from currreft_nb.method.rewards import score

Wrong = tuple[dict, str, float]  # fields of the question, a wrong answer, and what it may earn
LETTERS = "abcdghklmnopqrstuvwxyz"
UNIT_WORDS = "cm m km cm^2 m^2 m^3 kg g s min hours km/h m/s ^\\circ dollars liters"
UNITS = UNIT_WORDS.split()
SAME_UNITS = {"g": "grams", "s": "seconds", "m": "meters", "cm": "centimeters"}
NOUNS = "apple bear chair clock donkey engine forest garden hammer island jacket kettle lantern monkey needle"
WORDS = NOUNS.split()
HEDGES = r"""
{a} or {b}|{a}, {b}|{b}, {a}|{a} / {b} / {a}|not {a}|\text{{not}} = {a}|\ne {a}|{a}?!|maybe {a}|{a} ({b})|{a} = {b}
\boxed{{{a}}} \boxed{{{b}}}|\boxed{{{a}}} or {b}|the answer is {a}|{a} and {b}|either = {a}|{a} \pm 1|>{a}|{a} {b}
{a};{b}|{a} dozen|{a} thirds|{a} hundredths|{a} doubled|{a} negative|{a}abc|{a} billionths|{a}{b}x|{a} or {a}|{a}, {a}
no={a}|\boxed{{{a}}} + {b}|{a}\text{{ or so}}|{a} ~ {b}|{a} → {b}
"""
HEDGES = HEDGES.strip().replace("\n", "|").split("|")


def decimal(value: Fraction) -> str | None:
    """Return a number as a decimal where that is exact and short."""
    for places in range(9):
        if (value * 10**places).denominator == 1:
            digits = str(abs(value.numerator * 10**places // value.denominator)).rjust(places + 1, "0")
            text = f"{digits[: len(digits) - places]}.{digits[len(digits) - places :]}" if places else digits
            return "-" * (value < 0) + text
    return None


def written(rng: random.Random, value: Fraction) -> str:
    """Return a number in one of its notations, all of them exact."""
    top, bottom, sign, size = value.numerator, value.denominator, "-" * (value < 0), abs(value)
    forms = [
        f"{top}/{bottom}",
        f"\\frac{{{top}}}{{{bottom}}}",
        f"{sign}\\dfrac{{{abs(top)}}}{{{bottom}}}",
        f"${top}/{bottom}$",
    ]
    if bottom == 1:
        forms += [str(top), f"{top:,}" if size < 10**5 else str(top), f"\\boxed{{{top}}}", f"{top}.0", f"{top}e0"]
    if text := decimal(value):
        forms += [text, f"**{text}**", f"{text}.", f"{text}\\times 10^{{0}}"] if "." in text else [text]
    if size > 1 and bottom > 1:
        forms += [f"{sign}{size.numerator // bottom} {size.numerator % bottom}/{bottom}"]
    return rng.choice(forms)


def mutated(rng: random.Random, value: Fraction) -> Fraction:
    """Return another number near this one in digits."""
    digits = list(decimal(value) or str(value.numerator))
    place = rng.choice([i for i, digit in enumerate(digits) if digit.isdigit()])
    digits[place] = rng.choice("0123456789")
    step = Fraction(1, 10 ** rng.randrange(7))
    changed = [
        value + step,
        value - step,
        -value,
        value * 10,
        value / 10,
        value + 1,
        value - 1,
        1 / value if value else Fraction(2),
    ]
    return rng.choice(
        [*changed, value * value, Fraction("".join(digits)), value * (1 + Fraction(1, 10 ** rng.randrange(1, 6)))]
    )


def number(rng: random.Random) -> Fraction:
    """Return a number as right answers are: whole, with few decimals, or a fraction."""
    return Fraction(rng.randrange(-999, 9999), rng.choice([1, 1, 1, 2, 3, 4, 7, 8, 10, 100, 1000]))


def numbers(rng: random.Random) -> Iterator[Wrong]:
    while True:
        value = number(rng)
        gold, other = written(rng, value), mutated(rng, value)
        if other != value and abs(other - value) > 2 * Fraction(1, 10**6) * abs(value) * (len(gold) > 6):
            yield {"answer": gold}, written(rng, other), 0


def percentages(rng: random.Random) -> Iterator[Wrong]:
    while True:
        value = abs(number(rng)) + 1
        other = abs(mutated(rng, value))
        if other not in (value, value * 100, value / 100) and abs(other / value - 1) > Fraction(1, 10**5):
            signs = rng.choice([("%", "%"), ("\\%", ""), ("", " percent")])
            yield {"answer": f"{decimal(value) or value}{signs[0]}"}, f"{decimal(other) or other}{signs[1]}", 0


def repeating(rng: random.Random) -> Iterator[Wrong]:
    while True:
        part, digits = rng.choice(["", "1", "05"]), str(rng.randrange(1, 999))
        value = Fraction(int(part + digits) - int(part or 0), 10 ** len(part) * (10 ** len(digits) - 1))
        other = mutated(rng, value) if rng.random() < 0.5 else Fraction(f"0.{part}{digits}")
        if other != value and abs(other / value - 1) > Fraction(1, 10**5):
            form = rng.choice(["\\overline{%s}", "(%s)", "\\bar{%s}"]) % digits
            texts = f"0.{part}{form}", written(rng, other)
            yield {"answer": texts[0]}, texts[1], 0
            yield {"answer": texts[1]}, texts[0], 0


def units(rng: random.Random) -> Iterator[Wrong]:
    while True:
        value, (unit, other_unit) = abs(number(rng)) + 1, rng.sample(UNITS, 2)
        other = abs(mutated(rng, value))
        gold = (
            f"{written(rng, value).strip('*$.')} {unit}" if rng.random() < 0.5 else f"{decimal(value) or value}{unit}"
        )
        yield {"answer": gold}, f"{decimal(value) or value} {other_unit}", 0
        if other != value and abs(other / value - 1) > Fraction(1, 10**5):
            yield {"answer": gold}, f"{written(rng, other).strip('*$.')} {SAME_UNITS.get(unit, unit)}", 0


def hedges(rng: random.Random) -> Iterator[Wrong]:
    while True:
        value = abs(number(rng)) + 2
        other = value + rng.randrange(1, 9)
        a, b = decimal(value) or str(value), decimal(other) or str(other)
        yield {"answer": a}, rng.choice(HEDGES).format(a=a, b=b), 0


def parts(rng: random.Random) -> Iterator[Wrong]:
    """Ranges, dates and times of day."""
    while True:
        a, b, c = rng.randrange(1, 24), rng.randrange(24, 60), rng.randrange(2000, 2030)
        form, result = rng.choice(
            [
                ("{}-{}", a - b),
                ("{} - {}", b - a),
                ("{}:{}", Fraction(a, b)),
                ("{}/{}/2024", Fraction(a, b)),
                ("2024-{}-{}", c),
            ]
        )
        wrong = [
            form.format(b, a),
            form.format(a, b + 1),
            form.format(2 * a, 2 * b),
            str(result),
            f"{float(result):.7f}",
        ]
        yield {"answer": form.format(a, b)}, rng.choice(wrong), 0


def roots(rng: random.Random) -> Iterator[Wrong]:
    """Sums of a number and a multiple of a root or of π, which are equal only if both numbers are."""
    while True:
        a, b, kind = (
            rng.randrange(1, 20),
            rng.randrange(2, 20),
            rng.choice(["\\sqrt{2}", "\\sqrt{3}", "\\sqrt{5}", "\\pi"]),
        )
        c, d = rng.choice([(a + 1, b), (a, b + 1), (b, a), (-a, b), (a, -b), (0, b)])
        size = {"2": 2**0.5, "3": 3**0.5, "5": 5**0.5}.get(kind[6:7], 3.141592653589793)
        if (c, d) != (a, b):
            wrong = [f"{c}+{d}{kind}", f"{d}{kind}+{c}", f"{d}*{kind} + {c}", f"{a}+{b}{kind}{rng.choice(LETTERS)}"]
            wrong += [
                f"{c + d * size:.6f}",
                f"{(a + b * size) * 1.00001:.6f}",
                f"{a + b * size:.2f}",
                f"{c} \\pm {d}{kind}",
            ]
            yield {"answer": rng.choice([f"{a}+{b}{kind}", f"{b}{kind}+{a}"])}, rng.choice(wrong), 0


def small(rng: random.Random) -> Iterator[Wrong]:
    """Roots divided by a large power of ten, against decimals that are off by a tenth or more."""
    while True:
        power, root = rng.randrange(4, 9), rng.choice([2, 3, 5, 7])
        off = rng.choice([0.5, 0.71, 0.9, 1.1, 1.5, 2])
        yield (
            {"answer": f"\\sqrt{{{root}}}/10^{power}"},
            f"{root**0.5 * off / 10**power:.{power + rng.randrange(1, 8)}f}",
            0,
        )


def polynomial(rng: random.Random) -> tuple[str, str, dict[tuple[int, int], int]]:
    """Return two variables and the coefficients of a polynomial in them by exponents."""
    x, y = rng.sample(LETTERS, 2)
    return x, y, {exponents: rng.randrange(1, 9) for exponents in rng.sample(list(product(range(3), range(2))), 3)}


def terms(rng: random.Random, x: str, y: str, coefficients: dict) -> str:
    """Return a polynomial as text, its terms in any order."""
    texts = []
    for (i, j), coefficient in rng.sample(list(coefficients.items()), len(coefficients)):
        sign = rng.choice(["", "\\cdot ", " "]) if i + j else ""
        factors = [f"{letter}^{power}" if power > 1 else letter for letter, power in ((x, i), (y, j)) if power]
        texts.append(f"{coefficient}{sign}{rng.choice(['', ' ']).join(factors)}")
    return rng.choice([" + ", "+"]).join(texts)


def formulas(rng: random.Random) -> Iterator[Wrong]:
    """Polynomials; a difference is a polynomial that is not zero, so most points tell them apart."""
    while True:
        x, y, right = polynomial(rng)
        wrong, (key, value), names = dict(right), rng.choice(list(right.items())), [x, y]
        match rng.randrange(5):
            case 0:
                wrong[key] = value + rng.choice([-1, 1, 10])
            case 1:
                del wrong[key]
            case 2:
                wrong[key[0] + 1, key[1]] = wrong.pop(key) + wrong.get((key[0] + 1, key[1]), 0)
            case 3:
                names[rng.randrange(2)] = rng.choice(LETTERS)
            case _:
                wrong = {(i, 0): v for (i, j), v in right.items()}
        wrong = {k: v for k, v in wrong.items() if v}
        if wrong and differ(rng, (x, y, right), (*names, wrong)):
            yield {"answer": terms(rng, x, y, right)}, terms(rng, *names, wrong), 0


def differ(rng: random.Random, a: tuple, b: tuple) -> bool:
    """Say whether two polynomials have other values at a random point."""
    point = {letter: Fraction(rng.randrange(2, 99), rng.randrange(2, 99)) for letter in sorted({*a[:2], *b[:2]})}
    values = [sum(v * point[x] ** i * point[y] ** j for (i, j), v in p.items()) for x, y, p in (a, b)]
    return values[0] != values[1]


def equations(rng: random.Random) -> Iterator[Wrong]:
    """Lines `a x + b y = c`, which are one line only if the coefficients are multiples of each other."""
    while True:
        line = [rng.choice([-5, -3, -2, -1, 1, 2, 3, 4]) for _ in range(3)]
        other = list(line)
        place = rng.randrange(3)
        other[place] = rng.choice([-other[place], other[place] + 1, other[place] - 1]) or 7
        if any(line[i] * other[j] != line[j] * other[i] for i, j in ((0, 1), (0, 2), (1, 2))):
            yield {"answer": line_text(rng, *line)}, line_text(rng, *other), 0


def line_text(rng: random.Random, a: int, b: int, c: int) -> str:
    """Return the equation of a line in one of its forms."""
    slope, start = Fraction(-a, b), Fraction(c, b)
    left, right = (f"\\frac{{{abs(v.numerator)}}}{{{v.denominator}}}" for v in (slope, start))
    solved = f"y = {'-' * (slope < 0)}{left}x {'+-'[start < 0]} {right}"
    return rng.choice([f"{a}x + ({b})y = {c}", f"{2 * a}x+({2 * b})y-({2 * c})=0", f"{c} = {a}x+({b})y", solved])


def relations(rng: random.Random) -> Iterator[Wrong]:
    while True:
        letter, value = rng.choice(LETTERS), rng.randrange(-9, 9)
        sign, other = rng.sample(["<", ">", "\\le ", "\\ge "], 2)
        wrong = [
            f"{letter} {other} {value}",
            f"{letter}{sign}{value + 1}",
            f"{value} {sign} {letter}",
            f"{letter}={value}",
            str(value),
        ]
        yield {"answer": f"{letter}{sign}{value}"}, rng.choice(wrong), 0


def intervals(rng: random.Random) -> Iterator[Wrong]:
    while True:
        low = rng.randrange(-9, 9)
        high = low + rng.randrange(1, 9)
        (left, right), (a, b) = (rng.choice(list(product("([", ")]"))) for _ in range(2))
        wrong = [
            f"{left}{low}, {high + 1}{right}",
            f"{left}{low - 1},{high}{right}",
            f"\\{{{low}, {high}\\}}",
            f"{left}{high},{low}{right}",
        ]
        wrong += [f"{a}{low},{high}{b}"] * 3 * ((a, b) != (left, right))
        wrong += [f"{low}, {high}", f"{low} and {high}"] * ((left, right) in (("(", "]"), ("[", ")")))
        yield {"answer": f"{left}{low},{high}{right}"}, rng.choice(wrong), 0
        yield {"answer": f"{low} and {high}"}, rng.choice([f"({low},{high}]", f"[{low},{high})"]), 0


def collections(rng: random.Random) -> Iterator[Wrong]:
    """Sets, lists and pairs."""
    while True:
        values = rng.sample(range(-30, 30), rng.randrange(2, 5))
        wrong = rng.choice(
            [values[1:], [*values, 77], [*values[1:], 77], [*values[1:], values[1]], [-v for v in values]]
        )
        if Counter(wrong) != Counter(values):
            forms = ["{}", "\\{{{}\\}}", "{{{}}}"]
            texts = [rng.choice(forms).format(", ".join(map(str, items))) for items in (values, wrong)]
            yield {"answer": texts[0]}, texts[1], 0
        swapped = values[::-1] if values[::-1] != values else [99, *values]
        yield {"answer": f"({', '.join(map(str, values))})"}, f"({', '.join(map(str, swapped))})", 0
        yield {"answer": f"x={values[0]}, y={values[1]}"}, f"x={values[1]}, y={values[0]}", 0


def options(rng: random.Random) -> Iterator[Wrong]:
    """Letters of a question's own options, at the open stage and at the stage of choices."""
    while True:
        texts = [str(v) for v in rng.sample(range(100), 4)]
        right, other = rng.sample(range(4), 2)
        a, b = "ABCD"[right], "ABCD"[other]
        wrong = [
            b,
            f"{b}. {texts[other]}",
            f"{a}. {texts[other]}",
            f"{b}. {texts[right]}",
            f"\\boxed{{{b}}}",
            f"**{b}**",
            f"{a} or {b}",
        ]
        wrong += [
            f"{a}{b}",
            f"\\boxed{{{a}}}\\boxed{{{b}}}",
            f"{a}、{b}",
            f"{a}. {texts[right]}, {b}. {texts[other]}",
            "ABCD",
            f"not {a}",
        ]
        wrong += [
            f"{a}?? {b}",
            f"({b}) {texts[other]}",
            f"{b}。",
            f"\\text{{{b}}}",
            f"{a}. {texts[right]} or {texts[other]}",
        ]
        stage = rng.choice(["open", "choice"])
        yield {"stage": stage, "answer": a if stage == "open" else [a], "options": texts}, rng.choice(wrong), 0


def verdicts(rng: random.Random) -> Iterator[Wrong]:
    while True:
        right = rng.choice(["yes", "no"])
        other = {"yes": "no", "no": "yes"}[right]
        wrong = [
            other,
            f"\\boxed{{{other}}}",
            f"**{other.title()}**",
            f"not {right}",
            f"{right} or {other}",
            f"\\boxed{{{right}}}, {other}",
        ]
        wrong += [f"{right}, but {other}", f"{other}。", f'"{other}"', f"It is not {right}", f"{right}/{other}"]
        yield {"stage": "binary", "answer": right == "yes", "claim": "1"}, rng.choice(wrong), 0


BOX_FORMS = """[{0}, {1}, {2}, {3}];{{"bbox_2d": [{0}, {1}, {2}, {3}]}}
{{'bbox_2d': [{0}, {1}, {2}, {3}], 'label': 'dog'}}
({0},{1}),({2},{3});[[{0}, {1}], [{2}, {3}]];<box>{0} {1} {2} {3}</box>;<|det|>[[{0}, {1}, {2}, {3}]]<|/det|>
```json [{{"bbox_2d": [{0}, {1}, {2}, {3}]}}];\\boxed{{[{0}, {1}, {2}, {3}]}};"bbox": ["{0}", "{1}", "{2}", "{3}"]
{{"x1": {0}, "y1": {1}, "x2": {2}, "y2": {3}}};{{"box_2d": [{1}, {0}, {3}, {2}]}}
<loc{1:04}><loc{0:04}><loc{3:04}><loc{2:04}> dog
[{0}，{1}，{2}，{3}];<|begin_of_box|>[[{0}, {1}, {2}, {3}]]<|end_of_box|>;[{0}, {1}, {2}, {3},]."""
BOX_FORMS = BOX_FORMS.replace("\n", ";").split(";")


def boxes(rng: random.Random) -> Iterator[Wrong]:
    while True:
        gold, other = (
            [x, y, x + rng.randrange(9, 90), y + rng.randrange(9, 90)]
            for x, y in ((rng.randrange(200), rng.randrange(200)) for _ in "ab")
        )
        if rng.random() < 0.5:
            other = [v + rng.randrange(-40, 40) for v in gold]
        form = rng.choice(BOX_FORMS)
        fields = {"task": "detection", "answer": [list(map(float, gold))], "size": (400, 400), "image": "/x.png"}
        if not more_than_half(gold, other) and min(other) >= 0:
            yield fields, form.format(*other), 0
        right, wrong = form.format(*gold), form.format(*other)
        yield (
            fields,
            rng.choice(
                [f"{right} or {wrong}", f"{right}, {wrong}", f"{right}\n{wrong}", f"[{right}, {wrong}]", f"not {right}"]
            ),
            0,
        )


def more_than_half(a: list[int], b: list[int]) -> bool:
    """Say whether two boxes overlap in more than half of their union, counted in pixels along each side."""
    width, height = (len(set(range(a[i], a[i + 2])) & set(range(b[i], b[i + 2]))) for i in (0, 1))
    areas = sum(max(0, box[2] - box[0]) * max(0, box[3] - box[1]) for box in (a, b))
    return 2 * width * height > areas - width * height


def labels(rng: random.Random) -> Iterator[Wrong]:
    """Lists of labels: what they may earn is the overlap of the sets."""
    while True:
        gold, chosen = (rng.sample(WORDS, rng.randrange(1, 4)) for _ in range(2))
        if set(gold) != set(chosen):
            share = len({*gold} & {*chosen}) / len({*gold} | {*chosen})
            forms = [
                ", ".join(chosen),
                str(chosen),
                f'{{"labels": {chosen}}}'.replace("'", '"'),
                "、".join(chosen),
                "\n".join(f"• {c}" for c in chosen),
            ]
            forms += [
                "\n".join(f"{n}. {c}" for n, c in enumerate(chosen, 1)),
                " and ".join(chosen),
                f"\\boxed{{{', '.join(chosen)}}}",
            ]
            yield {"task": "classification", "answer": gold}, rng.choice(forms), share
        cheats = [
            f"not {gold[0]}",
            f"{gold[0]} or {WORDS[0]}",
            f"no {gold[0]}",
            f'{{"absent": ["{gold[0]}"]}}',
            f'{{"a": ["{gold[0]}"], "b": []}}',
        ]
        yield (
            {"task": "classification", "answer": gold},
            rng.choice([*cheats, f"3. {gold[0]} 3. {WORDS[1]}", f"perhaps {gold[0]} and {gold[0]}"]),
            0,
        )


TYPES: dict[Callable[[random.Random], Iterator[Wrong]], int] = {  # with how many of hundred answers are of that type
    numbers: 22, percentages: 5, repeating: 5, units: 10, hedges: 8, parts: 5, intervals: 6, collections: 6, options: 8,
    verdicts: 2, boxes: 10, labels: 6, roots: 2, small: 1, formulas: 2, equations: 1, relations: 1,
}  # fmt: skip


def search(count: int, seed: int) -> tuple[Counter, list[tuple[str, object, str, float]]]:
    """Return how many wrong answers were tried by type, and those that earn another reward than they may."""
    tried, paid = Counter(), []
    for kind, share in TYPES.items():
        found = kind(random.Random(f"{kind.__name__} {seed}"))
        for _ in range(max(1, count * share // 100)):
            fields, answer, worth = next(found)
            sample = Sample(**{"id": "a", "task": "math", "split": "train", "source": "s", "question": "?"} | fields)
            value = score(sample, f"<think></think><answer>{answer}</answer>").value
            tried[kind.__name__] += 1
            if abs(value - worth) > 1e-9:
                paid.append((kind.__name__, sample.answer, answer, value))
    return tried, paid


def main() -> int:
    """Search and print; return the exit status."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--count", type=int, default=2000, help="wrong answers, of all types together")
    parser.add_argument("--seed", type=int, default=0)
    options = parser.parse_args()
    tried, paid = search(options.count, options.seed)
    wrong = Counter(kind for kind, *_ in paid)
    print(f"{'type':14}{'tried':>9}{'paid':>7}")
    for kind, number_tried in tried.items():
        print(f"{kind:14}{number_tried:9,}{wrong[kind]:7,}")
    print(f"{'all':14}{sum(tried.values()):9,}{len(paid):7,}")
    for kind, gold, answer, value in paid[:50]:
        print(f"{kind}: {answer!r} earned {value:g} for {gold!r}")
    return int(bool(paid))


if __name__ == "__main__":
    sys.exit(main())

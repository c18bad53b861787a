"""The JSON Schemas that editors get: current, true to the samples, and strict about common mistakes."""

import json
import re
from pathlib import Path

import fastjsonschema
import pytest

from ledger.prices import schemas
from pricing.documents.yaml_reader import read_plain
from pricing.json_schema import schema_text

ROOT = Path(__file__).parents[3]
CONFIG = ROOT / "deploy" / "config"
SAMPLES = sorted([*CONFIG.glob("*.yaml"), *(CONFIG / "cards").glob("*.yaml")])
CHECKS = {name: fastjsonschema.compile(json.loads(schema_text(model))) for name, model in schemas.ALL.items()}
PAGE = (ROOT / "docs" / "pricing.md").read_text("utf-8")
GUIDE = re.findall(r"^```yaml (card|costs)\n(.*?)^```$", PAGE, re.MULTILINE | re.DOTALL)
TOP = "credit: c\ncredit_price_usd: 1\n"


def _card(rule):
    return f"card: c\ncredit: credit\ncredit_price_usd: '1'\nrules:\n  - {{name: r, {rule}}}\n"


def test_what_is_kept_is_what_the_models_say(tmp_path):
    """`make schema` has been run since a model changed."""
    schemas.write(tmp_path)
    for name in schemas.ALL:
        stored = ROOT / "deploy" / "schema" / f"{name}.json"
        assert stored.read_text("utf-8") == (tmp_path / stored.name).read_text("utf-8"), "make schema"


@pytest.mark.parametrize("path", SAMPLES, ids=lambda path: path.stem)
def test_samples_name_their_schema_and_keep_to_it(path):
    """By a path that leads there, both where the file is and by the way that it is deployed."""
    text = path.read_text("utf-8")
    reference = re.match(r"# yaml-language-server: \$schema=(\S+)\n", text).group(1)
    for place in (path, path.resolve()):
        schema = Path(f"{place.parent}/{reference}")
        assert schema.is_file()
    CHECKS[schema.stem](read_plain(text).value)


@pytest.mark.parametrize(("what", "text"), GUIDE)
def test_the_guide_keeps_to_the_schemas(what, text):
    """Every card and cost book of the page."""
    CHECKS[what](read_plain(text).value)


@pytest.mark.parametrize(
    "rule",
    [
        "match: {token: a/b}, price: {included: true}",
        "match: {}, price: {included: true}",
        "match: {tokens: a, compute: b}, price: {included: true}",
        "match: {tokens: []}, price: {included: true}",
        "match: {outcome: a, result: WON}, price: {included: true}",
        "match: {tokens: a/b}, price: {}",
        "match: {tokens: a/b}, price: {included: false}",
        "match: {tokens: a/b}, price: {per_million: {input: '-1'}}",
        "match: {tokens: a/b}, price: {per_million: {inputs: '1'}}",
        "match: {tokens: a/b}, price: {per_million: {input: 1e3}}",
        "match: {tokens: a/b}, price: {cost_plus: {markup: 0.3}}",
        "match: {tokens: a/b}, price: {cost_plus: {markup: '0.3'}}",
        "match: {tokens: a/b}, price: {cost_plus: {markups: 3%}}",
        "match: {compute: a}, price: {per_hour: '1', minimum: soon}",
        "match: {compute: a}, price: {per_hour: '1', minimum: 0}",
        "match: {compute: a}, price: {per_hour: one}",
        "match: {compute: a}, price: {per_hour: '1', minimum: 60s, minimum_again: true}",
        "match: {units: a}, price: {plus: []}",
        "match: {units: a}, prize: {each: '1'}",
        "match: {units: a}",
    ],
)
def test_common_mistakes_in_a_card_are_shown(rule):
    """Unknown keys, wrong forms, missing parts."""
    with pytest.raises(fastjsonschema.JsonSchemaValueException):
        CHECKS["card"](read_plain(_card(rule)).value)


@pytest.mark.parametrize(
    ("name", "text"),
    [
        ("card", f"card: a b\n{TOP}rules: [{{name: a, match: {{units: a}}, price: {{each: 1}}}}]"),
        ("card", f"card: a\n{TOP}rules: []"),
        ("card", _card("match: {units: a}, price: {each: 1}") + "effective_from: 2026-11-01\n"),
        ("card", _card("match: {units: a}, price: {each: 1}") + "round: {to: '0.01', mode: nearest}\n"),
        ("costs", "token: {}"),
        ("costs", "compute: {h100: {per_hours: '1'}}"),
        ("costs", "tokens: {discounts: {openai: 10}}"),
        ("costs", "units: {'a b': {each: 1}}"),
        ("plans", "plans: {}"),
        ("plans", "plans: {a: {max_ttl: 5}}"),
        ("plans", "plans: {a: {over_capture: NEVER}}"),
    ],
)
def test_common_mistakes_elsewhere_are_shown(name, text):
    """Of names, instants, choices and plans."""
    with pytest.raises(fastjsonschema.JsonSchemaValueException):
        CHECKS[name](read_plain(text).value)


@pytest.mark.parametrize(
    "rule",
    [
        "match: {tokens: ['a/*', b/c], key_owner: customer}, price: {each: {requests: 2}}",
        "match: {outcome: a, result: [RESOLVED, failed]}, price: {outcome: {resolved: '1'}}",
        "match: {compute: a, labels: {team: [x, y]}}, price: {per_hour: 1, minimum: 1.5m, increment: 1}",
    ],
)
def test_what_the_models_take_the_schemas_take(rule):
    """Alternatives of form."""
    CHECKS["card"](read_plain(_card(rule)).value)

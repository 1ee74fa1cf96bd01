#!/usr/bin/env python3
"""What PyPI jinja2 makes of the templates in .deps for each conversation of tests/golden/templates/conversations.json.

Writes tests/golden/templates/expected.json: for each template and conversation the length and SHA-256 of the UTF-8
text, or the kind of error. Hashes, so that the templates are not copied. Also snippets_expected.json: the text of each
template of snippets.json, or null where jinja2 has an error. Run it in a virtual environment:
  python3 -m venv VENV && VENV/bin/pip install jinja2==3.1.6 && VENV/bin/python scripts/golden/template_goldens.py
With TEMPLATE and CONVERSATION (a name or number) it prints that text instead.
"""
import datetime
import hashlib
import json
import pathlib
import sys

import jinja2
import jinja2.ext
import jinja2.sandbox

ROOT = pathlib.Path(__file__).resolve().parents[2]
TEMPLATES = ROOT / ".deps/llama/vendor/llama.cpp/models/templates"
GOLDEN = ROOT / "tests/golden/templates"
NOW = datetime.datetime(2025, 3, 9, 14, 5, 6)  # strftime_now(); chat_template_test.cpp has the same


class Refused(Exception):
    """raise_exception() of a template."""


class Generation(jinja2.ext.Extension):
    """{% generation %} marks what the model says; it renders its body in a scope of its own."""
    tags = {"generation"}

    def parse(self, parser):
        line = next(parser.stream).lineno
        body = parser.parse_statements(["name:endgeneration"], drop_needle=True)
        return jinja2.nodes.CallBlock(self.call_method("_said"), [], [], body).set_lineno(line)

    def _said(self, caller):
        return caller()


def refuse(message):
    raise Refused(message)


def to_json(value, ensure_ascii=False, indent=None, separators=None, sort_keys=False):
    return json.dumps(value, ensure_ascii=ensure_ascii, indent=indent, separators=separators, sort_keys=sort_keys)


def environment():
    env = jinja2.sandbox.ImmutableSandboxedEnvironment(
        trim_blocks=True, lstrip_blocks=True, extensions=[jinja2.ext.loopcontrols, Generation])
    env.filters["tojson"] = to_json
    env.filters["from_json"] = json.loads  # DeepSeek's templates expect it of whoever renders them
    env.globals["raise_exception"] = refuse
    env.globals["strftime_now"] = NOW.strftime
    return env


def render(template, conversation):
    try:
        text = template.render(**conversation["globals"])
        return text, None
    except Refused as error:
        return None, "refused: " + str(error)
    except Exception as error:  # type errors, undefined values, the sandbox: whatever Python says
        return None, type(error).__name__


def write_snippets(env):
    snippets = json.loads((GOLDEN / "snippets.json").read_text(encoding="utf-8"))
    texts = []
    for source in snippets["templates"]:
        try:
            text, error = render(env.from_string(source), snippets)
            texts.append(text if error is None else None)
        except (jinja2.TemplateSyntaxError, SyntaxError):
            texts.append(None)
    (GOLDEN / "snippets_expected.json").write_text(
        json.dumps(texts, ensure_ascii=False, indent=0) + "\n", encoding="utf-8")
    print(f"{len(texts)} snippets, {sum(text is None for text in texts)} of them errors")


def main():
    conversations = json.loads((GOLDEN / "conversations.json").read_text(encoding="utf-8"))
    env = environment()
    if len(sys.argv) == 3:
        source = (TEMPLATES / sys.argv[1]).read_text(encoding="utf-8")
        for number, conversation in enumerate(conversations):
            if sys.argv[2] in (str(number), conversation["name"]):
                text, error = render(env.from_string(source), conversation)
                sys.stdout.write(text if error is None else f"[{error}]\n")
        return
    write_snippets(env)
    expected = {}
    for path in sorted(TEMPLATES.glob("*.jinja")):
        template = env.from_string(path.read_text(encoding="utf-8"))
        rows = expected[path.name] = []
        for conversation in conversations:
            text, error = render(template, conversation)
            if error is None:
                data = text.encode("utf-8")
                rows.append([len(data), hashlib.sha256(data).hexdigest()])
            elif error.startswith("refused: "):
                rows.append(["refused", hashlib.sha256(error[9:].encode("utf-8")).hexdigest()])
            else:
                rows.append(["error", error])
    lines = [f"{json.dumps(name)}: [\n" + ",\n".join(json.dumps(row) for row in rows) + "]"
             for name, rows in expected.items()]
    (GOLDEN / "expected.json").write_text("{" + ",\n".join(lines) + "}\n", encoding="utf-8")
    cells = [row for rows in expected.values() for row in rows]
    print(f"{len(expected)} templates, {len(cells)} renderings: "
          f"{sum(isinstance(c[0], int) for c in cells)} texts, {sum(c[0] == 'refused' for c in cells)} refused, "
          f"{sum(c[0] == 'error' for c in cells)} errors")


if __name__ == "__main__":
    main()

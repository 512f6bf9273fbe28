"""The settings that the pages of docs/clients show. The tests run with these very settings."""

import re
from pathlib import Path

DOCUMENTS = Path(__file__).resolve().parents[3] / "docs" / "clients"
# The example values on the pages.
ENDPOINT, HOST, PORT = "https://kinesis.example.com:4567", "kinesis.example.com", "4567"
STREAM, CA = "clicks", "/etc/anabranch/ca.pem"


def policy(page, stream):
    """The policy of a page's user, a document in JSON."""
    return block(page, "json", {STREAM: stream}, -1)


def block(page, language, replacing, number=0):
    """One code block of a page, with the values of the test in place of the example values."""
    text = (DOCUMENTS / f"{page}.md").read_text()
    content = re.findall(rf"^```{language}\n(.*?)^```$", text, re.MULTILINE | re.DOTALL)[number]
    for example, value in replacing.items():
        assert example in content, f"docs/clients/{page}.md, {language} {number}: no {example}"
        content = content.replace(example, str(value))
    return content

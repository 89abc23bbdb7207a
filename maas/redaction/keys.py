"""Where a text holds a secret that opens something: the patterns of detect-secrets' plugins, and a few more.

Left out are its plugins that judge by randomness or by a word beside the value: they take hashes, UUIDs and sentences
about passwords for secrets.
"""

from __future__ import annotations

import re
from collections.abc import Iterator

from maas.redaction.finders import Span, missing

# Each of these begins where no word goes on: from every place inside a long one they would read it again to its end.
_ALONE = r"(?<![A-Za-z0-9_-])"
_JWT = r"eyJ[A-Za-z0-9_-]+\.[A-Za-z0-9_-]+(?:\.[A-Za-z0-9_-]*)?"
_MORE = (
    r"maas_[A-Za-z0-9]{1,64}_\w{32}",
    r"github_pat_\w{22}",
    r"sk-(?:ant|proj|svcacct)-[\w-]{20}",
    r"sk_test_\w{24}",
    r"AIza[\w-]{35}",
    r"npm_[A-Za-z0-9]{36}",
)
_NPM_SETTING = re.compile(r":_authToken=[ \t]*[^\s]{1,200}")
# detect-secrets finds the beginning of a token; the rest of it belongs to the secret.
_REST = re.compile(r"[A-Za-z0-9_+/=-]*(?:\.[A-Za-z0-9_+/=-]+)*")
_KEY_MARKS = re.compile(r"-----(?:BEGIN|END) [A-Z0-9 ]{0,40}-----|Private-MAC: *[0-9a-f]{0,64}")
_KEY_LINES = re.compile(r"[- \t]*\s*(?:[A-Za-z0-9+/=]{16,}\s{0,4})*")


class Keys:
    """Raises ConfigError if detect-secrets is not installed."""

    def __init__(self) -> None:
        try:
            from detect_secrets.plugins import jwt, openai, private_key
        except ImportError as error:
            raise missing(error) from None
        self._is_jwt = jwt.JwtTokenDetector.is_formally_valid
        self._begins_key = re.compile(
            "|".join(f"(?:{pattern.pattern})" for pattern in private_key.PrivateKeyDetector.denylist)
        )
        self._patterns = [
            *_denylists(),
            *(re.compile(_ALONE + pattern.pattern) for pattern in openai.OpenAIDetector.denylist),
            *(re.compile(rf"(?<![A-Za-z0-9])(?:{pattern})") for pattern in _MORE),
            _NPM_SETTING,
        ]
        self._signed = re.compile(_ALONE + _JWT)

    def __call__(self, text: str) -> Iterator[Span]:
        for pattern in self._patterns:
            yield from (span for span, _ in _tokens(pattern, text))
        yield from (span for span, found in _tokens(self._signed, text) if self._is_jwt(found))
        yield from self._private_keys(text)

    def _private_keys(self, text: str) -> Iterator[Span]:
        """From the line that begins a key to the one that ends it, or as far as lines look like a key's."""
        begin = self._begins_key.search(text)
        mark = _KEY_MARKS.search(text, begin.end()) if begin else None
        while begin:
            if mark is not None and mark.start() < begin.end():
                mark = _KEY_MARKS.search(text, begin.end())
            whole = mark is not None and _closes(mark[0], begin[0])
            stop = mark.end() if mark is not None and whole else _lines_end(text, begin.end())
            start = begin.start()
            while start and text[start - 1] == "-":
                start -= 1
            yield start, stop
            begin = self._begins_key.search(text, stop)


def _closes(mark: str, begin: str) -> bool:
    """Whether ``mark`` ends the very key that ``begin`` begins: a text may speak of one, and hold another later."""
    if begin.startswith("PuTTY"):
        return mark.startswith("Private-MAC")
    return mark == f"-----END{begin.removeprefix('BEGIN')}-----"


def _denylists() -> Iterator[re.Pattern[str]]:
    from detect_secrets.plugins import (
        aws,
        azure_storage_key,
        basic_auth,
        discord,
        github_token,
        gitlab_token,
        mailchimp,
        pypi_token,
        sendgrid,
        slack,
        square_oauth,
        stripe,
        telegram_token,
        twilio,
    )

    for plugin in (
        aws.AWSKeyDetector,
        azure_storage_key.AzureStorageKeyDetector,
        basic_auth.BasicAuthDetector,
        discord.DiscordBotTokenDetector,
        github_token.GitHubTokenDetector,
        gitlab_token.GitLabTokenDetector,
        mailchimp.MailchimpDetector,
        pypi_token.PypiTokenDetector,
        sendgrid.SendGridDetector,
        slack.SlackDetector,
        square_oauth.SquareOAuthDetector,
        stripe.StripeDetector,
        telegram_token.TelegramBotTokenDetector,
        twilio.TwilioKeyDetector,
    ):
        for pattern in plugin.denylist:  # where words need no spaces, a sentence goes on beside a key
            yield re.compile(pattern.pattern, pattern.flags & ~re.UNICODE | re.ASCII)


def _tokens(pattern: re.Pattern[str], text: str) -> Iterator[tuple[Span, str]]:
    """Each token whole, and what the pattern found of it."""
    match = pattern.search(text)
    while match:
        start, end = match.span()
        if text[end - 1].isalnum() or text[end - 1] == ".":
            rest = _REST.match(text, end)
            end = rest.end() if rest else end
        yield (start, end), match[0]
        match = pattern.search(text, end)


def _lines_end(text: str, start: int) -> int:
    lines = _KEY_LINES.match(text, start)
    return lines.end() if lines else start

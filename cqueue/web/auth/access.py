"""All a node takes to know its callers by: the tokens file, the identity provider, and the key of its tickets.

It is read by the supervisor at the start, and inherited by every process that is forked from it; on
SIGHUP each process reads the files again. Files that are wrong change nothing.
"""

from __future__ import annotations

import os
from pathlib import Path

from cqueue import logs
from cqueue.config import Settings
from cqueue.errors import Unusable
from cqueue.web.auth.jwts import InvalidToken, Jwts, Provider
from cqueue.web.auth.principals import Principal
from cqueue.web.auth.tickets import Tickets
from cqueue.web.auth.tokens import Tokens, digest_of, read

log = logs.of(__name__)


class Access:
    """What callers may show here.

    Args:
        settings: the node's.

    Raises:
        Unusable: a file cannot be used; the sentence names the flag and the file.
    """

    def __init__(self, settings: Settings) -> None:
        self._settings = settings
        self.is_on = settings.asks_who
        """Whether anybody is asked at all."""
        self.tickets = Tickets(settings.cluster_secret)
        self._tokens, self._jwts = self._read()

    def load_keys(self) -> None:
        """Be ready to check tokens of the provider; for processes that do.

        Raises:
            Unusable: see `Jwts.load_keys`.
        """
        if self._jwts is not None:
            self._jwts.load_keys()

    def renew(self, *, with_keys: bool) -> bool:
        """Read the files again; whether they could be used. If not, what was read before stays in use."""
        try:
            tokens, jwts = self._read()
            if with_keys and jwts is not None:
                jwts.load_keys()
        except Unusable as error:
            log.warning("access_kept", pid=os.getpid(), why=error.detail)
            return False
        self._tokens, self._jwts = tokens, jwts
        return True

    def recall(self, shown: str) -> Principal | None:
        """Whose API token this is, or whose JWT, if that was checked before; costs next to nothing."""
        digest = digest_of(shown)
        token = self._tokens.find(digest)
        if token is not None and not token.has_expired:
            return token.principal
        return None if self._jwts is None else self._jwts.recall(digest)

    def check(self, shown: str) -> Principal:
        """Whose token this is, if it is not one to recall.

        Raises:
            InvalidToken: nobody's.
        """
        if self._tokens.find(digest_of(shown)) is not None:
            raise InvalidToken("it has expired")
        if self._jwts is None:
            raise InvalidToken("it is not a token that is taken here")
        return self._jwts.check(shown)

    def _read(self) -> tuple[Tokens, Jwts | None]:
        settings = self._settings
        tokens = Tokens(read(Path(settings.tokens)) if settings.tokens else ())
        if not settings.jwt_jwks:
            return tokens, None
        return tokens, Jwts(
            Provider(
                settings.jwt_issuer,
                settings.jwt_audience,
                settings.jwt_jwks,
                settings.jwt_role_claim,
                settings.jwt_queues_claim,
            )
        )

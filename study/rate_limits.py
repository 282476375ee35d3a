"""How often one run and one address may ask, counted together by all web processes.

A run's requests are counted by its token. By its address, which a whole campus may share, a visitor is counted only
for what nobody honest does often: starting runs, and asking for runs and studies that there are not. What is known is
always served, so that nobody is shut out by a neighbour who guesses (a token is 128 random bits: guessing is noise).

The counting is GCRA, a token bucket that is one number: the time at which it will be full again.
"""

from __future__ import annotations

import hashlib
import ipaddress
import logging
import math
import re
import threading
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from functools import cache
from typing import Final, Protocol

from django.conf import settings
from django.core.exceptions import ImproperlyConfigured

logger = logging.getLogger(__name__)

FORM: Final = re.compile(r"([1-9][0-9]{0,6})\+([1-9][0-9]{0,6})/([smh])", re.ASCII)
SECONDS: Final[Mapping[str, int]] = {"s": 1, "m": 60, "h": 3600}
PREFIX: Final = "blindspot:rate"
#: s: what a request waits for the store at the most, and for how long nobody asks it after it did not answer.
PATIENCE_S: Final = 0.02
PAUSE_S: Final = 5.0
MOST_KEPT: Final = 20_000


@dataclass(frozen=True)
class Limit:
    """`burst` requests at once, and `per_second` more for as long as they come."""

    burst: int
    per_second: float

    @classmethod
    def named(cls, variable: str, text: str) -> Limit | None:
        """From "3000+20/s": 3000 at once and 20 a second (m: a minute, h: an hour); "off": None.

        Raises ImproperlyConfigured with one sentence for anything else.
        """
        if text == "off":
            return None
        match = FORM.fullmatch(text)
        if match is None:
            raise ImproperlyConfigured(
                f'{variable} must look like 3000+20/s (so many at once, so many a second), or be "off", not {text!r}.'
            )
        return cls(int(match[1]), int(match[2]) / SECONDS[match[3]])

    @property
    def interval_ms(self) -> float:
        return 1000 / self.per_second

    @property
    def room_ms(self) -> float:
        """How far ahead of now the time may lie at which the bucket is full again."""
        return self.burst * self.interval_ms


class Store(Protocol):
    def take(self, key: str, limit: Limit) -> float:
        """Take one from the bucket of this key. Returns 0, or the ms until there is one to take again."""


def taken(full_at: float, now: float, limit: Limit) -> tuple[float, float]:
    """(when the bucket is full again, ms to wait) after one is taken from it; times in ms."""
    later = max(full_at, now) + limit.interval_ms
    wait = later - now - limit.room_ms
    return (full_at, wait) if wait > 0 else (later, 0.0)


class Memory:
    """Counts of this process alone."""

    def __init__(self, clock: Callable[[], float] = time.monotonic) -> None:
        self._clock = clock
        self._full_at: dict[str, float] = {}
        self._lock = threading.Lock()

    def take(self, key: str, limit: Limit) -> float:
        now = 1000 * self._clock()
        with self._lock:
            self._full_at[key], wait = taken(self._full_at.get(key, now), now, limit)
            if len(self._full_at) > MOST_KEPT:
                self._forget(now)
        return wait

    def _forget(self, now: float) -> None:
        """Full buckets tell nothing. Should few be full, the counts of all but the emptiest half go."""
        kept = sorted(((at, key) for key, at in self._full_at.items() if at > now), reverse=True)
        self._full_at = {key: at for at, key in kept[: MOST_KEPT // 2]}


class Shared:
    """Counts in Redis or Valkey. While that is away, nothing is limited: a limit must never keep an answer out."""

    #: As `taken`, by the server's clock; a full bucket is forgotten.
    SCRIPT: Final = """
local time = redis.call('TIME')
local now = time[1] * 1000 + time[2] / 1000
local later = math.max(tonumber(redis.call('GET', KEYS[1]) or 0), now) + ARGV[1]
local wait = later - now - ARGV[2]
if wait > 0 then return math.ceil(wait) end
redis.call('SET', KEYS[1], string.format('%.3f', later), 'PX', math.ceil(later - now))
return 0
"""

    def __init__(self, url: str) -> None:
        import redis
        from redis.backoff import NoBackoff
        from redis.retry import Retry

        client = redis.Redis.from_url(
            url, socket_timeout=PATIENCE_S, socket_connect_timeout=PATIENCE_S, retry=Retry(NoBackoff(), 0)
        )
        self._script = client.register_script(self.SCRIPT)
        self._failures = redis.RedisError
        self._asked_again_at = 0.0
        self._away = False

    def take(self, key: str, limit: Limit) -> float:
        if time.monotonic() < self._asked_again_at:
            return 0.0
        try:
            wait = self._script(keys=[f"{PREFIX}:{key}"], args=[limit.interval_ms, limit.room_ms])
        except self._failures as error:
            self._lose(error)
            return 0.0
        if self._away:
            self._away = False
            logger.warning("The broker counts requests again: rates are limited.")
        return float(wait)

    def _lose(self, error: Exception) -> None:
        from study import metrics

        self._asked_again_at = time.monotonic() + PAUSE_S
        metrics.rate_limits_away()
        if not self._away:
            self._away = True
            logger.warning("The broker does not count requests (%s): no rate is limited.", type(error).__name__)


@cache
def store_at(url: str) -> Store:
    """Where requests are counted: in the broker, else in this process."""
    return Shared(url) if url.startswith(("redis://", "rediss://", "unix://")) else Memory()


def wait_s(name: str, who: str) -> int:
    """Count a request of `who` under the limit of this name. Returns 0, or after how many seconds to ask again."""
    limit = settings.RATE_LIMITS[name]
    if limit is None or not who:
        return 0
    return math.ceil(store_at(settings.CELERY_BROKER_URL).take(f"{name}:{_keyed_hash(who)}", limit) / 1000)


def visitor(meta: Mapping[str, str]) -> str:
    """The address that a request comes from, for counting; of IPv6 the network, of which one person has all addresses.

    Behind proxies (settings.PROXIES: how many) it is what the outermost of them saw. Empty for this machine itself:
    robots of a rehearsal come from here, and everybody does where a proxy does not say whom it speaks for.
    """
    told = [part.strip() for part in meta.get("HTTP_X_FORWARDED_FOR", "").split(",") if part.strip()]
    chain = [*told, meta.get("REMOTE_ADDR", "")]
    try:
        address = ipaddress.ip_address(chain[-1 - min(settings.PROXIES, len(told))])
    except ValueError:
        return ""
    if isinstance(address, ipaddress.IPv6Address):
        address = address.ipv4_mapped or address
    if address.is_loopback:
        return ""
    return str(address if address.version == 4 else ipaddress.IPv6Address(int(address) >> 64 << 64))


def _keyed_hash(who: str) -> str:
    """Tokens are secrets and addresses are personal: neither is stored."""
    return hashlib.blake2b(who.encode(errors="backslashreplace"), key=_key(), digest_size=12).hexdigest()


@cache
def _key() -> bytes:
    return hashlib.sha256(f"study.rate_limits {settings.SECRET_KEY}".encode()).digest()

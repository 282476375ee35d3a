"""What theory says of queues that come as a Poisson stream: the mean wait, s. The simulation is held against it."""

from __future__ import annotations


def mean_wait_mm1(rate: float, service_s: float) -> float:
    """M/M/1: exponential services of this mean."""
    load = _load(rate, service_s, 1)
    return load * service_s / (1 - load)


def mean_wait_md1(rate: float, service_s: float) -> float:
    """M/D/1: every service takes as long."""
    return mean_wait_mm1(rate, service_s) / 2


def mean_wait_mg1(rate: float, service_s: float, variation: float) -> float:
    """M/G/1 (Pollaczek-Khinchine); variation: coefficient of variation of the services."""
    return mean_wait_mm1(rate, service_s) * (1 + variation**2) / 2


def chance_to_wait(servers: int, offered: float) -> float:
    """Erlang's C: the share of arrivals that find all servers busy; offered: arrivals during one service."""
    lost = 1.0
    for n in range(1, servers + 1):  # Erlang's B, by its recursion, which does not overflow
        lost = offered * lost / (n + offered * lost)
    load = offered / servers
    return lost / (1 - load * (1 - lost))


def mean_wait_mmc(rate: float, service_s: float, servers: int) -> float:
    """M/M/c."""
    load = _load(rate, service_s, servers)
    return chance_to_wait(servers, rate * service_s) * service_s / (servers * (1 - load))


def _load(rate: float, service_s: float, servers: int) -> float:
    load = rate * service_s / servers
    if load >= 1:
        raise ValueError(f"At a load of {load:.2f} the queue grows for ever: there is no mean wait.")
    return load

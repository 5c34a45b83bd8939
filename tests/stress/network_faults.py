"""What befalls the network between clients and the server; see `tests.stress.proxy`."""

from __future__ import annotations

import time

from tests.stress.faults import Fault
from tests.stress.proxy import FINE, Proxy, Weather
from tests.stress.scene import Scene


class BadWeather:
    """
    A kind of weather for some seconds.

    Args:
        name: of the fault.
        weather: what it is like.
        seconds: shortest and longest time.
        breaks: whether connections that are of no use any more are reset at the end, as by a firewall that starts anew.
    """

    proxied = True

    def __init__(self, name: str, weather: Weather, seconds: tuple[float, float], *, breaks: bool = False) -> None:
        self.name, self.weather, self.seconds, self.breaks = name, weather, seconds, breaks

    def inject(self, scene: Scene) -> None:
        proxy: Proxy = scene.proxy
        proxy.weather = self.weather
        try:
            time.sleep(scene.random.uniform(*self.seconds))
        finally:
            proxy.weather = FINE
            if self.breaks:
                proxy.reset_all()


FAULTS: list[Fault] = [
    BadWeather("replies lost", Weather(reply="lose", share=0.05), (0.3, 1.5), breaks=True),
    BadWeather("all replies lost", Weather(reply="lose"), (0.3, 1.5), breaks=True),
    BadWeather("black hole", Weather(is_hole=True), (0.5, 3.0)),
    BadWeather("connections reset", Weather(reply="reset", share=0.1), (0.3, 1.5)),
    BadWeather("cut inside replies", Weather(reply="cut", share=0.1), (0.3, 1.5)),
    BadWeather("200 ms of delay", Weather(delay=0.2, jitter=0.15), (1.0, 3.0)),
    BadWeather("throttled", Weather(rate=20_000), (1.0, 3.0)),
    BadWeather("refused", Weather(refuses=True), (0.3, 2.0)),
]

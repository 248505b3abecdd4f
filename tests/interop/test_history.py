"""A subscriber that joined late gets from the node what it missed, on both servers."""

from __future__ import annotations

from knoop_bench.seen import PUBSUB
from knoop_bench.subscriber import Subscriber
from knoop_bench.witness import EVENTS, Witness


async def test_what_was_before_the_subscription_and_between_two_is_asked_for(house, server):
    home = await house(server, {"anna": "owner"})
    anna = home.people["anna"]

    def client() -> Witness:
        return Witness(
            anna.jid, anna.password, port=server.tls_port, ca_file=server.ca_file, notify=(), friends=[home.jid]
        )

    async with Subscriber(client, home.jid) as subscriber:
        await subscriber.ready()
        verdict = await subscriber.until(lambda verdict: len(verdict.of({"event"}).series) >= 1, within_s=20)
        async with client() as other:  # another device of the same account ends the subscription of them all
            wish = f"<unsubscribe node='{EVENTS}' jid='{other.jid}'/>"
            await other.iq("set", f"<pubsub xmlns='{PUBSUB}'>{wish}</pubsub>", to=home.jid)
            highest = max(series.highest for series in verdict.of({"event"}).series)
            history = await subscriber.until(lambda verdict: verdict.readings > 0, within_s=20)
            while max(series.highest for series in history.of({"event"}).series) < highest + 3:
                await subscriber.close_gaps(within_s=20)
                history = subscriber.verdict()
    assert (history.lost, history.inversions, history.conflicts) == ((), (), ()), str(history)
    assert history.repaired >= 3, str(history)

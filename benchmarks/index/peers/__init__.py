"""Libraries that the index bench measures, one adapter each, through their own public API."""

from ragopt.benchmarks.index.peers.base import Peer
from ragopt.benchmarks.index.peers.registry import peers, unavailable
from ragopt.benchmarks.index.peers.spec_peer import SpecPeer

__all__ = ["Peer", "SpecPeer", "peers", "unavailable"]

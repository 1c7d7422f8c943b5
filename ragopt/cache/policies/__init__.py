"""What decides whether a similar question is served, and the evidence it decides on."""

from ragopt.cache.policies.base import Candidate, Decision, Observation, Policy
from ragopt.cache.policies.calibrated import Calibrated, Step, certified_steps, fewest_hits
from ragopt.cache.policies.calibration import ScoredPairs, calibrate, score_pairs
from ragopt.cache.policies.features import FEATURES, pair_features
from ragopt.cache.policies.online import PerEntry
from ragopt.cache.policies.static import Off, Static
from ragopt.cache.policies.verifier import Verifier, fit_verifier

__all__ = [
    "FEATURES",
    "Calibrated",
    "Candidate",
    "Decision",
    "Observation",
    "Off",
    "PerEntry",
    "Policy",
    "ScoredPairs",
    "Static",
    "Step",
    "Verifier",
    "calibrate",
    "certified_steps",
    "fewest_hits",
    "fit_verifier",
    "pair_features",
    "score_pairs",
]

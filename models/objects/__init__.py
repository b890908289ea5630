"""Slicks judged as objects: each candidate of the network is classified as oil or look-alike from all evidence."""

from models.objects.candidates import Candidate, CandidateOptions, find_candidates
from models.objects.features import FEATURES, candidate_features
from models.objects.judge import Judge, judge_sha256, load_judge, save_judge
from models.objects.stage import Sea, Verdict, judge_image, judge_scene
from models.objects.surroundings import SIDE, Surroundings, window_around

__all__ = [
    "FEATURES",
    "SIDE",
    "Candidate",
    "CandidateOptions",
    "Judge",
    "Sea",
    "Surroundings",
    "Verdict",
    "candidate_features",
    "find_candidates",
    "judge_image",
    "judge_scene",
    "judge_sha256",
    "load_judge",
    "save_judge",
    "window_around",
]

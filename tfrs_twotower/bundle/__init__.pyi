from .evaluate import evaluate_bundle as evaluate_bundle
from .load import LoadedBundle as LoadedBundle
from .load import Recommendations as Recommendations
from .load import Scores as Scores
from .load import load_bundle as load_bundle
from .manifest import Manifest as Manifest
from .manifest import Rerank as Rerank

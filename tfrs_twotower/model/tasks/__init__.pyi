from .frequencies import FrequencyEstimator as FrequencyEstimator
from .full_softmax import FullSoftmaxTask as FullSoftmaxTask
from .rating import RatingTask as RatingTask
from .sampled_softmax import SampledSoftmaxTask as SampledSoftmaxTask
from .task import EventTask as EventTask
from .task import QueryTask as QueryTask
from .task import Task as Task

from .archives import read_archive as read_archive
from .load import load_movielens as load_movielens

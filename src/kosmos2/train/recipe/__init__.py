"""What a training run does, as a frozen value and as a TOML file.

settings   the tables of a recipe: model, stages, training, many processes
recipe     Recipe: the whole, read from TOML and written back, and how two of them differ
data       one source of rows, and how its rows are put into words
schema     a table of TOML becomes a frozen value, or an error that names the key
toml       the other way round
shipped    the recipes of the package, and single settings asked otherwise
"""

from kosmos2.train.lora.settings import Lora
from kosmos2.train.recipe.data import Data
from kosmos2.train.recipe.recipe import Recipe
from kosmos2.train.recipe.settings import Many, Model, Stage, Train

__all__ = ["Data", "Lora", "Many", "Model", "Recipe", "Stage", "Train"]

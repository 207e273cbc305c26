"""How the two upstreams' state dicts become parameters."""

from pytorch_to_mlx.weights import Drop, Fuse, Rename, WeightMap

LSTM = WeightMap(
    Rename("lstm.weight_ih_l{n:d}", "lstm.layers.{n}.Wx"),
    Rename("lstm.weight_hh_l{n:d}", "lstm.layers.{n}.Wh"),
    Fuse(("lstm.bias_ih_l{n:d}", "lstm.bias_hh_l{n:d}"), "lstm.layers.{n}.bias", how="sum"),
    Drop("similarity_{what}", "scales similarities in the training loss only", count=2),
)
CHATTERBOX = LSTM + WeightMap(Rename("proj.{leaf}", "proj.{leaf}"))
RESEMBLYZER = (LSTM + WeightMap(Rename("linear.{leaf}", "proj.{leaf}"))).under("model_state.", "") + WeightMap(
    Drop("optimizer_state.{p*}", "state of the optimizer, for training on", optional=True)
)

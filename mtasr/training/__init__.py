"""From records to a better model. Needs the extra `train`.

config, finetune                 all settings; the recipe for little data
objectives/                      what is learned: the seam of the loop, and the objectives
examples, targets, batches       records -> random excerpts -> tokens -> arrays
loop, state, run_log, parallel   the loop, its checkpoints and log, several processes
adaptation                       which weights are trained, and the plain model of the result
vocabulary                       a vocabulary for training from scratch
"""

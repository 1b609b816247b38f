"""From records to a better model. Needs the extra `train`.

config, finetune                 all settings; the recipe for little data
objectives/                      what is learned: the seam of the loop, and the objectives
examples, targets, batches       records -> random excerpts -> tokens -> arrays
loop, state, run_log, parallel   the loop, its checkpoints and log, several processes
optimizer                        the rates of weights, by step and by layer
adaptation, initial_encoder      which weights are trained, and the plain model of the result; a pre-trained encoder
vocabulary                       a vocabulary for training from scratch
"""

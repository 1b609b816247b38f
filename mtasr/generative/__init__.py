"""Models that write speech, their training, and how their results are measured. Needs the extra `train`.

transformer, sampling               a decoder-only transformer, and how it continues a sequence
unit_lm, unit_model, unit_sequences a language model over units, and its data
metrics                             how close speech is to what it should be, and how much it repeats itself
conv, seanet, rvq                   causal convolutions, SEANet, residual vector quantisation
codec, codec_folder, codec_file     a codec of these, its folders, and .ecdc files
discriminators, losses, balance     what generators of sound learn from, and how much each loss weighs
adversarial, codec_objective        the step that trains a generator and a discriminator; `objective=codec`
"""

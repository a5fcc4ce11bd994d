"""The op table, a file per family; `families` imports them all and so fills it.

| what | files |
| --- | --- |
| the table, and recording an entry | dispatch.py, families.py; table.py prints it |
| functions given to users | publish.py |
| elementwise operations | elementwise.py makes entries by the rules of promotion.py; unary.py, binary.py, ternary.py, special.py; operators: arithmetic.py |
| formulas written once and read three ways | formulas.py: activations.py, normalization.py, losses.py, cross_entropy.py, recurrent.py, update.py (optimizers) |
| views | strided.py, views.py |
| moving and making data | creation.py, convert.py, movement.py, memory.py, attributes.py, complex.py |
| indices | indexing.py, gather.py, masks.py, embedding.py |
| reductions and order | reductions.py, scan.py, ordering.py, segments.py |
| products | contraction.py, convolution.py, attention.py |
| pictures | pooling.py, interpolation.py |
| matrices | linalg.py: matrices.py, solve.py, factorizations.py, spectral.py |
| other transforms and losses | fft.py, ctc.py |
| randomness | random.py, philox.py, dropout.py |
| tensors that are not dense, or stand for slices | sparse.py, batching.py (vmap) |
"""

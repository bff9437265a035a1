# clf describe: everything of the descriptor, without any platform.
. "$(dirname "$0")/lib.sh"
without_platforms

expect 0 describe scaled_dot_product
says 'att_mask'; says 'semantics .*semantic .*paper\|xformers'; says 'dropout .*0 \.\. 1'; says '^Honours: .*causal'
expect 0 describe scaled_dot_product --json
says '"axes"'; says '"choices"'; says '"differentiable"'
expect 0 describe --kind attention scaled_dot_product
expect 0 describe fused_attention; says '^Features of the kernel families'; says '^  softcap .*both'
says '^ .* vector .* portable '
expect 0 describe fused_attention --json; says '"features"'; says '"ALiBi"'
expect 0 describe favor; says '^More exact with larger: dim_features'
expect 1 describe fused_attention --device all; complains 'platform'
expect 1 describe --kind attentoin scaled_dot_product; complains attentoin
expect 1 describe --kind feedforward scaled_dot_product
expect 1 describe scaled_dot_produkt; complains 'scaled_dot_product'
finish

#!/usr/bin/env bash
# Usage: bash examples/recipes/scores.sh DATA MADE [MODEL] [test|validation]
#
# Prints every score of the model card: of MODEL, or of the built-in model, on one split of the data sets in DATA and of
# what `lichen-assistant dialogues` and `commands` put into MADE/dialogues and MADE/commands. LICHEN names the command
# if it is not on the path.
set -euo pipefail
data=${1:?usage: bash examples/recipes/scores.sh DATA MADE [MODEL] [SPLIT]}
made=${2:?usage: bash examples/recipes/scores.sh DATA MADE [MODEL] [SPLIT]}
model=${3:+-m $3}
split=${4:-test}

score() {
  printf '\n== eval --suite %s\n' "$*"
  # shellcheck disable=SC2086
  ${LICHEN:-lichen} eval $model --device cpu --suite "$@"
}

for set in clinc150 snips2017 hwu64; do score intents --data "$data/$set/$split.jsonl"; done
score actions --data "$made/dialogues/actions.$split.jsonl"
score images --data "$data/mnist/$split-images-idx3-ubyte.gz"
score images --data "$data/noto_emoji/$split.jsonl"
score speech --data "$data/fsdd/$split.jsonl"
score speech --data "$data/gcompris_spoken_words_en/$split.jsonl"
score speech --data "$made/commands/words.$split.jsonl"
score speech --data "$made/commands/$split.jsonl"
score sounds --data "$data/esc10/$split.jsonl"
for language in es fr de; do score translate --words 6 --data "$data/tatoeba_pairs/en-$language.$split.tsv"; done
score lm --data "$data/gutenberg_children/$split"
score lessons --in-context --data "$made/dialogues/lessons.$split.jsonl"
score turns --data "$made/dialogues/$split.jsonl"

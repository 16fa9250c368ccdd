#!/usr/bin/env python3
"""Writes scores.json: sacreBLEU's scores of a few awkward sentences under many options. Needs sacrebleu 2.6.0."""
import json
import pathlib
import sys

import sacrebleu
from sacrebleu.metrics import BLEU, CHRF

HYPOTHESES = [
    "The harbour was quiet, and 1,250 boats slept.",
    "It cost $3.50 (about 2.9 euros) - not much!",
    "",
    "one",
    "He said: \"well-known\" &quot;things&quot; &amp; &lt;others&gt; <skipped>",
    "Größe, Ärger und ΟΔΥΣΣΕΥΣ gingen im Jahre 1999. nach İzmir",
    "我们在2023年去了北京，天气很好。“真的”…",
    "A\u00a0b\u2003c\u200bd \u001ce  f\u3000g",
    "ends with a hyphen 5-6 and a dot .5 or 7.",
    "(hello) 'quoted' ...dots... x! !y a.b.c ,,",
    "nothing here agrees at all",
    "€5 ± 3 ≠ 2 → ok ½ Ⅳ ٣ 。完",
    "🙂 smile 👍🏽 and go e\u0301te\u0301",
    "short",
]
REFERENCES = [
    "The harbor was quiet and 1,250 boats slept.",
    "It cost $3.5 (about 2.9 euros) – not much.",
    "This one has no counterpart.",
    "one",
    "He said: \"well known\" \"things\" & <others>",
    "Größe, ärger und Οδυσσεύς gingen im Jahr 1999. nach Izmir",
    "我們在2023年去北京，天氣很好。「真的」…",
    "A b c d e f g",
    "Ends with a hyphen 5-6 and a dot .5 or 7.",
    "( hello ) quoted ... dots ... x ! ! y a.b.c , ,",
    "Совсем другие слова",
    "€ 5 ± 3 ≠ 2 → ok 1/2 Ⅳ ٣。完",
    "🙂 smile 👍 and go été",
    "short but this reference is very much longer than that",
]
SECOND = [
    "The port was quiet , and 1250 boats slept .",
    "It was $3.50, some 2.9 euros: not much!",
    "",
    "one two",
    "She said things & others",
    "GRÖSSE und Odysseus",
    "我们2023年去了北京, 天气很好.",
    "A b c\u200bd e f g",
    "ends with 5-6 or 7 .",
    "(hello) quoted x! y",
    "nothing agrees here at all",
    "5 € ± 3",
    "smile",
    "short",
]

BLEU_OPTIONS = (
    [{"tokenize": t, "lowercase": lc} for t in ("13a", "intl", "zh", "char", "none") for lc in (False, True)]
    + [{"smooth_method": s, "smooth_value": v} for s, v in
       (("none", None), ("floor", None), ("floor", 0.25), ("add-k", None), ("add-k", 0.5))]
    + [{"max_ngram_order": 2}, {"effective_order": True}]
)
CHRF_OPTIONS = [
    {}, {"word_order": 2}, {"word_order": 2, "lowercase": True}, {"whitespace": True},
    {"word_order": 2, "eps_smoothing": True}, {"beta": 1, "char_order": 4}, {"beta": 3, "word_order": 1},
    {"char_order": 8},
]


def cases(metric, options, references):
    for option in options:
        corpus = metric(**option)
        score = corpus.corpus_score(HYPOTHESES, references)
        single = dict(option, effective_order=True) if metric is BLEU else option
        sentence = metric(**single)
        yield {
            "options": option,
            "n_references": len(references),
            "score": score.score,
            "text": score.format(width=2),
            "signature": str(corpus.get_signature()),
            "sentences": [sentence.sentence_score(h, [r[i] for r in references]).score
                          for i, h in enumerate(HYPOTHESES)],
        }


def main():
    assert sacrebleu.__version__ == "2.6.0", sacrebleu.__version__
    both = ([REFERENCES], [REFERENCES, SECOND])
    out = {
        "hypotheses": HYPOTHESES,
        "references": [REFERENCES, SECOND],
        "bleu": [c for r in both for c in cases(BLEU, BLEU_OPTIONS, r)],
        "chrf": [c for r in both for c in cases(CHRF, CHRF_OPTIONS, r)],
    }
    path = pathlib.Path(__file__).with_name("scores.json")
    path.write_text(json.dumps(out, indent=1) + "\n")
    print(f"{path}: {len(out['bleu'])} BLEU and {len(out['chrf'])} chrF cases", file=sys.stderr)


main()

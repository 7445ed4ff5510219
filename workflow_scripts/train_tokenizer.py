"""Train the WordPiece vocabulary on captions and on questions that training may see."""

from typing import TYPE_CHECKING

from lxmert_tickets.data.scenes.dataset import read_captions
from lxmert_tickets.data.tokens import save_tokenizer, train_tokenizer
from lxmert_tickets.data.vqa_json import read_questions
from lxmert_tickets.jobs.job import job

if TYPE_CHECKING:
    from snakemake.iocontainers import snakemake

with job(snakemake.log[0]) as log:
    captions = [text for path in snakemake.input.captions for _, text in read_captions(path)]
    questions = [asked.question for path in snakemake.input.questions for asked in read_questions(path).questions]
    tokenizer = train_tokenizer([*captions, *questions], snakemake.params.vocab_size)
    save_tokenizer(snakemake.output.tokenizer, tokenizer)
    log.info("%d sentences, %d tokens", len(captions) + len(questions), tokenizer.get_vocab_size())

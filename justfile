# What people who work on mtasr do often. Without a recipe, `just` lists them. The extra `dev` installs `just` as .venv/bin/just.

bin := ".venv/bin"

_list:
    @{{ just_executable() }} --list

# Make .venv with mtasr and everything that its tests need.
setup:
    python3 -m venv .venv
    {{ bin }}/pip install -q -e '.[dev]'

# Run the quick tests, or the ones named: just test tests/formats -k srt
test *options:
    {{ bin }}/python -m pytest {{ options }}

# Run every test: with weights, slow ones, style, types, import layers.
test-all *options:
    {{ bin }}/python -m pytest -m '' {{ options }}

# Check style, types and import layers.
lint:
    {{ bin }}/ruff check .
    {{ bin }}/ruff format --check .
    {{ bin }}/mypy
    {{ bin }}/lint-imports

# Format the code.
format:
    {{ bin }}/ruff format .

# Write docs/commands.md from the help pages.
docs:
    {{ bin }}/python -m mtasr.cli.reference > docs/commands.md

# Draw the README's pictures; needs Chromium.
pictures:
    {{ bin }}/python docs/pictures/make.py

# Run a script of benchmarks/: just bench speed --clips MANIFEST --peers PEERS/bin/python
bench script="start" *options="examples/interview.flac":
    {{ bin }}/python benchmarks/{{ script }}.py {{ options }}

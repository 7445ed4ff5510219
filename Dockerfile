# The environment of requirements.lock, without the workflow, which is mounted. Usage: docs/dependencies.md.
FROM python:3.11-slim

# Triton, which compiles GPU kernels, needs a C compiler.
RUN apt-get update \
    && apt-get install --yes --no-install-recommends gcc libc6-dev \
    && rm -rf /var/lib/apt/lists/*

# PyTorch's package includes CUDA; only NVIDIA's driver comes from the host.
COPY requirements.lock /requirements.lock
RUN python -m pip install --no-cache-dir --disable-pip-version-check --requirement /requirements.lock

# Any user may run it, even one unknown to the image.
ENV HOME=/tmp OMP_NUM_THREADS=1
WORKDIR /workflow
CMD ["snakemake", "--cores", "all"]

# The environment of requirements.lock, without the workflow: that is mounted. docs/dependencies.md tells how to use it.
FROM python:3.11-slim

# Triton, which makes the kernels for a GPU, calls a C compiler.
RUN apt-get update \
    && apt-get install --yes --no-install-recommends gcc libc6-dev \
    && rm -rf /var/lib/apt/lists/*

# PyTorch's package brings CUDA; from the host comes NVIDIA's driver alone.
COPY requirements.lock /requirements.lock
RUN python -m pip install --no-cache-dir --disable-pip-version-check --requirement /requirements.lock

# Any user may run it, also one whom the image does not know.
ENV HOME=/tmp OMP_NUM_THREADS=1
WORKDIR /workflow
CMD ["snakemake", "--cores", "all"]

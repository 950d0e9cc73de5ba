# occflow on a CPU. The packages of Debian are those of tools/install.sh (tests/test_install.py holds them equal).
#   docker build -t occflow .
#   docker run --name street occflow             # make stream: a real street, forecast live
#   docker run --name demo occflow make demo     # the whole road, training included
#   docker cp street:/home/occflow/occflow/runs .
FROM python:3.11-slim-bookworm

RUN apt-get update \
    && apt-get install -y --no-install-recommends make libegl1 libgl1 libgomp1 libusb-1.0-0 \
    && rm -rf /var/lib/apt/lists/* \
    && useradd --create-home occflow \
    && install --directory --owner=occflow --group=occflow /home/occflow/occflow

USER occflow
WORKDIR /home/occflow/occflow
COPY --chown=occflow:occflow . .

# PyTorch's CPU build; --build-arg TORCH_INDEX= takes the default one, with CUDA, which is some gigabytes larger
ARG TORCH_INDEX=https://download.pytorch.org/whl/cpu
RUN PIP_NO_CACHE_DIR=1 PIP_EXTRA_INDEX_URL="$TORCH_INDEX" make install

CMD ["make", "stream"]

// SPDX-License-Identifier: MIT
#include "devices/post.h"

static void post_reset(struct device *dev)
{
    container_of(dev, struct post, dev)->code = 0;
}

static enum io_result post_access(struct device *dev, struct io_access *io)
{
    struct post *post = container_of(dev, struct post, dev);
    if (io->write)
        post->code = (u8)io->value;
    else
        io->value = post->code;
    return IO_DONE;
}

static const struct device_ops post_ops = {.reset = post_reset, .access = post_access};

INIT void post_init(struct post *post)
{
    *post = (struct post){
        .dev = {.name = "post", .ops = &post_ops}
    };
}

INIT int post_attach(struct post *post, struct bus *bus)
{
    return bus_attach(bus, &post->dev, IO_PORT, POST_PORT, 1);
}

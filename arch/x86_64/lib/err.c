// SPDX-License-Identifier: MIT
#include "arch/x86_64/lib/err.h"

const char *err_name(int err)
{
    switch (err) {
    case OK:
        return "OK";
    case E_INVAL:
        return "E_INVAL";
    case E_NOMEM:
        return "E_NOMEM";
    case E_RANGE:
        return "E_RANGE";
    case E_EXIST:
        return "E_EXIST";
    case E_NOENT:
        return "E_NOENT";
    case E_UNSUPP:
        return "E_UNSUPP";
    case E_TRUNC:
        return "E_TRUNC";
    case E_FORMAT:
        return "E_FORMAT";
    case E_TIMEOUT:
        return "E_TIMEOUT";
    case E_FAULT:
        return "E_FAULT";
    case E_LOCKED:
        return "E_LOCKED";
    default:
        return "unknown error";
    }
}

// SPDX-License-Identifier: MIT
// The errors a function can return: 0 or more is success, one of these (negative) is not.
// They are for what the user or a resource did wrong; the guest's mistakes become faults in the
// guest, and our own end in CHECK.
#pragma once

enum err {
    OK = 0,
    E_INVAL = -1,   // a value that is not allowed
    E_NOMEM = -2,   // no memory or no room in a table
    E_RANGE = -3,   // outside what is addressable or given
    E_EXIST = -4,   // already there, or overlapping
    E_NOENT = -5,   // not there
    E_UNSUPP = -6,  // this machine or this build cannot
    E_TRUNC = -7,   // the data end before they should
    E_FORMAT = -8,  // wrong magic, wrong checksum, wrong syntax
    E_TIMEOUT = -9, // a bounded wait ended
    E_FAULT = -10,  // the access faults (#GP, #UD, #PF: the function says which)
    E_LOCKED = -11, // locked by firmware
};

// The error's name as written above, for messages; never NULL.
const char *err_name(int err);

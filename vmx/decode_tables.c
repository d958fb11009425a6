// SPDX-License-Identifier: MIT
#include "vmx/decode_tables.h"

// The two-operand forms of the eight instructions that opcodes 00-3F hold; CMP alone writes nothing
// and takes no LOCK.
#define ARITHMETIC(base, insn, lock)                                                               \
    [base] = {insn, FORM_MEM_REG, 0, OP_BYTE | (lock)},                                            \
    [(base) + 1] = {insn, FORM_MEM_REG, 0, (lock)},                                                \
    [(base) + 2] = {insn, FORM_REG_MEM, 0, OP_BYTE}, [(base) + 3] = {insn, FORM_REG_MEM, 0, 0}

const struct opcode opcodes_1byte[256] = {
    ARITHMETIC(0x00, INSN_ADD, OP_LOCK),
    ARITHMETIC(0x08, INSN_OR, OP_LOCK),
    ARITHMETIC(0x10, INSN_ADC, OP_LOCK),
    ARITHMETIC(0x18, INSN_SBB, OP_LOCK),
    ARITHMETIC(0x20, INSN_AND, OP_LOCK),
    ARITHMETIC(0x28, INSN_SUB, OP_LOCK),
    ARITHMETIC(0x30, INSN_XOR, OP_LOCK),
    ARITHMETIC(0x38, INSN_CMP, 0),
    [0x63] = {INSN_MOVSX, FORM_REG_MEM,   0,        OP_MEM32 | OP_ONLY64},
    [0x80] = {0,          FORM_MEM_IMM,   GROUP_1,  OP_BYTE             },
    [0x81] = {0,          FORM_MEM_IMM,   GROUP_1,  0                   },
    [0x82] = {0,          FORM_MEM_IMM,   GROUP_1,  OP_BYTE | OP_NOT64  },
    [0x83] = {0,          FORM_MEM_IMM8,  GROUP_1,  0                   },
    [0x84] = {INSN_TEST,  FORM_MEM_REG,   0,        OP_BYTE             },
    [0x85] = {INSN_TEST,  FORM_MEM_REG,   0,        0                   },
    [0x86] = {INSN_XCHG,  FORM_MEM_REG,   0,        OP_BYTE | OP_LOCK   },
    [0x87] = {INSN_XCHG,  FORM_MEM_REG,   0,        OP_LOCK             },
    [0x88] = {INSN_MOV,   FORM_MEM_REG,   0,        OP_BYTE             },
    [0x89] = {INSN_MOV,   FORM_MEM_REG,   0,        0                   },
    [0x8a] = {INSN_MOV,   FORM_REG_MEM,   0,        OP_BYTE             },
    [0x8b] = {INSN_MOV,   FORM_REG_MEM,   0,        0                   },
    [0x8f] = {0,          FORM_MEM,       GROUP_1A, OP_PUSH64           },
    [0xa0] = {INSN_MOV,   FORM_ACC_MOFFS, 0,        OP_BYTE             },
    [0xa1] = {INSN_MOV,   FORM_ACC_MOFFS, 0,        0                   },
    [0xa2] = {INSN_MOV,   FORM_MOFFS_ACC, 0,        OP_BYTE             },
    [0xa3] = {INSN_MOV,   FORM_MOFFS_ACC, 0,        0                   },
    [0xa4] = {INSN_MOVS,  FORM_STRING_SI, 0,        OP_BYTE             },
    [0xa5] = {INSN_MOVS,  FORM_STRING_SI, 0,        0                   },
    [0xa6] = {INSN_CMPS,  FORM_STRING_SI, 0,        OP_BYTE             },
    [0xa7] = {INSN_CMPS,  FORM_STRING_SI, 0,        0                   },
    [0xaa] = {INSN_STOS,  FORM_STRING_DI, 0,        OP_BYTE             },
    [0xab] = {INSN_STOS,  FORM_STRING_DI, 0,        0                   },
    [0xac] = {INSN_LODS,  FORM_STRING_SI, 0,        OP_BYTE             },
    [0xad] = {INSN_LODS,  FORM_STRING_SI, 0,        0                   },
    [0xae] = {INSN_SCAS,  FORM_STRING_DI, 0,        OP_BYTE             },
    [0xaf] = {INSN_SCAS,  FORM_STRING_DI, 0,        0                   },
    [0xc6] = {0,          FORM_MEM_IMM,   GROUP_11, OP_BYTE             },
    [0xc7] = {0,          FORM_MEM_IMM,   GROUP_11, 0                   },
    [0xf6] = {0,          FORM_MEM,       GROUP_3,  OP_BYTE             },
    [0xf7] = {0,          FORM_MEM,       GROUP_3,  0                   },
    [0xfe] = {0,          FORM_MEM,       GROUP_4,  OP_BYTE             },
    [0xff] = {0,          FORM_MEM,       GROUP_5,  0                   },
};

const struct opcode opcodes_0f[256] = {
    [0xa3] = {INSN_BT,      FORM_MEM_REG,  0,       0                     },
    [0xab] = {INSN_BTS,     FORM_MEM_REG,  0,       OP_LOCK               },
    [0xb0] = {INSN_CMPXCHG, FORM_MEM_REG,  0,       OP_BYTE | OP_LOCK     },
    [0xb1] = {INSN_CMPXCHG, FORM_MEM_REG,  0,       OP_LOCK               },
    [0xb3] = {INSN_BTR,     FORM_MEM_REG,  0,       OP_LOCK               },
    [0xb6] = {INSN_MOVZX,   FORM_REG_MEM,  0,       OP_MEM8               },
    [0xb7] = {INSN_MOVZX,   FORM_REG_MEM,  0,       OP_MEM16              },
    [0xba] = {0,            FORM_MEM_IMM8, GROUP_8, 0                     },
    [0xbb] = {INSN_BTC,     FORM_MEM_REG,  0,       OP_LOCK               },
    [0xbe] = {INSN_MOVSX,   FORM_REG_MEM,  0,       OP_MEM8               },
    [0xbf] = {INSN_MOVSX,   FORM_REG_MEM,  0,       OP_MEM16              },
    [0xc0] = {INSN_XADD,    FORM_MEM_REG,  0,       OP_BYTE | OP_LOCK     },
    [0xc1] = {INSN_XADD,    FORM_MEM_REG,  0,       OP_LOCK               },
    [0xc3] = {INSN_MOV,     FORM_MEM_REG,  0,       OP_NO16 | OP_NO_PREFIX}, // MOVNTI
};

const struct opcode opcodes_0f38[256] = {
    [0xf0] = {INSN_MOVBE, FORM_REG_MEM, 0, 0},
    [0xf1] = {INSN_MOVBE, FORM_MEM_REG, 0, 0},
};

const struct opcode opcode_groups[] = {
    [GROUP_1 + 0] = {INSN_ADD,     0,            0, OP_LOCK  },
    [GROUP_1 + 1] = {INSN_OR,      0,            0, OP_LOCK  },
    [GROUP_1 + 2] = {INSN_ADC,     0,            0, OP_LOCK  },
    [GROUP_1 + 3] = {INSN_SBB,     0,            0, OP_LOCK  },
    [GROUP_1 + 4] = {INSN_AND,     0,            0, OP_LOCK  },
    [GROUP_1 + 5] = {INSN_SUB,     0,            0, OP_LOCK  },
    [GROUP_1 + 6] = {INSN_XOR,     0,            0, OP_LOCK  },
    [GROUP_1 + 7] = {INSN_CMP,     0,            0, 0        },
    [GROUP_1A + 0] = {INSN_POP,     0,            0, 0        },
    [GROUP_3 + 0] = {INSN_TEST,    FORM_MEM_IMM, 0, 0        },
    [GROUP_3 + 1] = {INSN_TEST,    FORM_MEM_IMM, 0, 0        },
    [GROUP_3 + 2] = {INSN_NOT,     0,            0, OP_LOCK  },
    [GROUP_3 + 3] = {INSN_NEG,     0,            0, OP_LOCK  },
    [GROUP_4 + 0] = {INSN_INC,     0,            0, OP_LOCK  },
    [GROUP_4 + 1] = {INSN_DEC,     0,            0, OP_LOCK  },
    [GROUP_4 + 2 ... GROUP_4 + 7] = {OP_UNDEFINED, 0,            0, 0        },
    [GROUP_5 + 0] = {INSN_INC,     0,            0, OP_LOCK  },
    [GROUP_5 + 1] = {INSN_DEC,     0,            0, OP_LOCK  },
    [GROUP_5 + 6] = {INSN_PUSH,    0,            0, OP_PUSH64},
    [GROUP_5 + 7] = {OP_UNDEFINED, 0,            0, 0        },
    [GROUP_8 + 0 ... GROUP_8 + 3] = {OP_UNDEFINED, 0,            0, 0        },
    [GROUP_8 + 4] = {INSN_BT,      0,            0, 0        },
    [GROUP_8 + 5] = {INSN_BTS,     0,            0, OP_LOCK  },
    [GROUP_8 + 6] = {INSN_BTR,     0,            0, OP_LOCK  },
    [GROUP_8 + 7] = {INSN_BTC,     0,            0, OP_LOCK  },
    [GROUP_11 + 0] = {INSN_MOV,     0,            0, 0        },
    [GROUP_11 + 1 ... GROUP_11 + 7] = {OP_UNDEFINED, 0,            0, 0        },
};

_Static_assert(ARRAY_SIZE(opcode_groups) == GROUPS_END, "a row for each reg field of each group");

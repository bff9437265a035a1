/* Tasks of a stage: heads, and sequences in blocks of rows. */
#include "peers.h"

int peer_heads(const peer_problem *p)
{
    return p->heads;
}

int peer_blocks(const peer_problem *p)
{
    return (p->length + PEER_ROWS - 1) / PEER_ROWS;
}

int peer_blocks_of_heads(const peer_problem *p)
{
    return p->heads * peer_blocks(p);
}

int peer_rows_of(const peer_problem *p, int block)
{
    return p->length - block * PEER_ROWS < PEER_ROWS ? p->length - block * PEER_ROWS : PEER_ROWS;
}

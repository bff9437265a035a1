/* The mask_mod of the caller. */
return (clf_bool)(CLF_MASK_MOD(b, h, q, k)) != 0;

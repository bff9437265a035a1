/* The score_mod of the caller. */
return (clf_real)(CLF_SCORE_MOD(score, b, h, q, k));

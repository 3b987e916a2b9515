package org.ppclas.demo;

import android.app.Activity;
import android.content.ActivityNotFoundException;
import android.content.Intent;
import android.graphics.Bitmap;
import android.graphics.BitmapFactory;
import android.graphics.Matrix;
import android.media.ExifInterface;
import android.net.Uri;
import android.os.Bundle;
import android.provider.MediaStore;
import android.widget.ImageView;
import android.widget.TextView;
import java.io.BufferedReader;
import java.io.ByteArrayInputStream;
import java.io.ByteArrayOutputStream;
import java.io.File;
import java.io.FileOutputStream;
import java.io.IOException;
import java.io.InputStream;
import java.io.InputStreamReader;
import java.io.OutputStream;
import java.nio.charset.StandardCharsets;
import java.util.ArrayList;
import java.util.List;
import java.util.Locale;
import java.util.concurrent.ExecutorService;
import java.util.concurrent.Executors;

/** Takes or chooses a photo, and shows the three most probable classes. */
public final class MainActivity extends Activity {
    private static final int CHOSEN = 1;
    private static final int TAKEN = 2;
    private static final int SHOWN = 3;
    /** Longer sides are halved while a photo is decoded: the model needs much less. */
    private static final int LONGEST = 2048;

    /** One thread: a predictor of Paddle-Lite must not be called by two at a time. */
    private final ExecutorService worker = Executors.newSingleThreadExecutor();
    private final List<String> labels = new ArrayList<>();
    private Classifier classifier;

    @Override
    protected void onCreate(Bundle state) {
        super.onCreate(state);
        setContentView(R.layout.main);
        findViewById(R.id.choose).setOnClickListener(view -> choose());
        findViewById(R.id.take).setOnClickListener(view -> take());
        worker.execute(this::load);
    }

    @Override
    protected void onDestroy() {
        worker.shutdown();
        super.onDestroy();
    }

    private void choose() {
        Intent intent = new Intent(Intent.ACTION_GET_CONTENT).setType("image/*");
        startActivityForResult(intent.addCategory(Intent.CATEGORY_OPENABLE), CHOSEN);
    }

    private void take() {
        try {
            startActivityForResult(new Intent(MediaStore.ACTION_IMAGE_CAPTURE), TAKEN);
        } catch (ActivityNotFoundException missing) {
            answer(getString(R.string.no_camera));
        }
    }

    @Override
    protected void onActivityResult(int code, int result, Intent data) {
        super.onActivityResult(code, result, data);
        if (result != RESULT_OK || data == null) {
            return;
        }
        if (code == CHOSEN && data.getData() != null) {
            Uri photo = data.getData();
            worker.execute(() -> classify(decode(photo)));
        } else if (code == TAKEN && data.getExtras() != null) {
            // The small picture that every camera app gives back; no permission is needed for it.
            Bitmap photo = data.getExtras().getParcelable("data");
            worker.execute(() -> classify(photo));
        }
    }

    /** Paddle-Lite reads a file, so the model is copied out of the app once. */
    private void load() {
        try {
            File model = new File(getFilesDir(), "model.nb");
            try (InputStream packed = getAssets().open("model.nb");
                    OutputStream file = new FileOutputStream(model)) {
                copy(packed, file);
            }
            try (BufferedReader lines = new BufferedReader(
                    new InputStreamReader(getAssets().open("labels.txt"), StandardCharsets.UTF_8))) {
                for (String line = lines.readLine(); line != null; line = lines.readLine()) {
                    labels.add(line.substring(line.indexOf(' ') + 1));
                }
            }
            classifier = new Classifier(model.getPath());
        } catch (IOException failure) {
            answer(failure.toString());
        }
    }

    private void classify(Bitmap photo) {
        if (photo == null) {
            answer(getString(R.string.unreadable));
            return;
        }
        if (classifier == null) {
            return; // load() has said why
        }
        float[] probabilities = classifier.probabilities(prepare(photo));
        StringBuilder text = new StringBuilder();
        for (int rank = 0; rank < Math.min(SHOWN, probabilities.length); rank++) {
            int best = 0;
            for (int i = 1; i < probabilities.length; i++) {
                if (probabilities[i] > probabilities[best]) {
                    best = i;
                }
            }
            text.append(String.format(
                    Locale.getDefault(), "%s  %.1f %%%n", labels.get(best), 100 * probabilities[best]));
            probabilities[best] = -1;
        }
        runOnUiThread(() -> {
            ImageView view = findViewById(R.id.photo);
            view.setImageBitmap(photo);
        });
        answer(text.toString());
    }

    /** As ppclas prepares photos: see SHORT_SIDE. */
    private static Bitmap prepare(Bitmap photo) {
        if (Classifier.SHORT_SIDE < 0) {
            throw new IllegalStateException(
                    "Photos of this model are prepared in another way: change prepare() as README.md of the export says.");
        }
        if (Classifier.SHORT_SIDE == 0) {
            return Bitmap.createScaledBitmap(photo, Classifier.WIDTH, Classifier.HEIGHT, true);
        }
        double scale = Classifier.SHORT_SIDE / (double) Math.min(photo.getWidth(), photo.getHeight());
        int width = (int) Math.max(Classifier.WIDTH, Math.rint(photo.getWidth() * scale));
        int height = (int) Math.max(Classifier.HEIGHT, Math.rint(photo.getHeight() * scale));
        Bitmap resized = Bitmap.createScaledBitmap(photo, width, height, true);
        return Bitmap.createBitmap(
                resized,
                (width - Classifier.WIDTH) / 2,
                (height - Classifier.HEIGHT) / 2,
                Classifier.WIDTH,
                Classifier.HEIGHT);
    }

    /** The photo, upright; null where it cannot be read. */
    private Bitmap decode(Uri photo) {
        try (InputStream stream = getContentResolver().openInputStream(photo)) {
            ByteArrayOutputStream content = new ByteArrayOutputStream();
            copy(stream, content);
            byte[] bytes = content.toByteArray();
            BitmapFactory.Options options = new BitmapFactory.Options();
            options.inJustDecodeBounds = true;
            BitmapFactory.decodeByteArray(bytes, 0, bytes.length, options);
            options.inJustDecodeBounds = false;
            options.inSampleSize = 1;
            while (Math.max(options.outWidth, options.outHeight) / options.inSampleSize > LONGEST) {
                options.inSampleSize *= 2;
            }
            Bitmap bitmap = BitmapFactory.decodeByteArray(bytes, 0, bytes.length, options);
            return bitmap == null ? null : upright(bitmap, bytes);
        } catch (IOException unreadable) {
            return null;
        }
    }

    /** Turned and mirrored as the EXIF orientation (1 to 8) says. */
    private static Bitmap upright(Bitmap bitmap, byte[] bytes) throws IOException {
        int orientation = new ExifInterface(new ByteArrayInputStream(bytes))
                .getAttributeInt(ExifInterface.TAG_ORIENTATION, 1);
        int[] degrees = {0, 0, 0, 180, 180, 270, 90, 90, 270};
        boolean mirrored = orientation == 2 || orientation == 4 || orientation == 5 || orientation == 7;
        if (orientation < 2 || orientation > 8) {
            return bitmap;
        }
        Matrix matrix = new Matrix();
        if (mirrored) {
            matrix.postScale(-1, 1);
        }
        matrix.postRotate(degrees[orientation]);
        return Bitmap.createBitmap(bitmap, 0, 0, bitmap.getWidth(), bitmap.getHeight(), matrix, true);
    }

    private static void copy(InputStream from, OutputStream to) throws IOException {
        byte[] block = new byte[65536];
        for (int count = from.read(block); count > 0; count = from.read(block)) {
            to.write(block, 0, count);
        }
    }

    private void answer(String text) {
        runOnUiThread(() -> {
            TextView view = findViewById(R.id.answer);
            view.setText(text);
        });
    }
}
